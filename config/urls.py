"""Every address of the house."""

from django.contrib import admin
from django.urls import include, path

from config import health
from config.api.urls import unknown
from payments.stripe import pages as stripe_pages
from payments.stripe.webhook import webhook as stripe_webhook
from telegram_bot.webhook import PATH as TELEGRAM_WEBHOOK
from telegram_bot.webhook import webhook

urlpatterns = [
    path("healthz", health.healthz),
    path("readyz", health.readyz),
    path("metrics", health.show_metrics),
    path("admin/", admin.site.urls),
    path(TELEGRAM_WEBHOOK.removeprefix("/"), webhook),
    path("webhook/stripe", stripe_webhook),
    path("pay/stripe/done", stripe_pages.back, {"how": "done"}),
    path("pay/stripe/left", stripe_pages.back, {"how": "left"}),
    path("", include("config.api.urls")),
    path("", include("entitlements.api.urls")),
    path("", include("payments.api.urls")),
    path("", include("telegram_bot.api.urls")),
    unknown,
]

handler400 = "config.api.problems.bad_request"
handler403 = "config.api.problems.permission_denied"
handler404 = "config.api.problems.not_found"
handler500 = "config.api.problems.server_error"
