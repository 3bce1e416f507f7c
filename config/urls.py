"""Every address of the house."""

from importlib.util import find_spec

from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path

from config import health

urlpatterns: list[URLPattern | URLResolver] = [
    path("healthz", health.healthz),
    path("readyz", health.readyz),
    path("metrics", health.show_metrics),
    path("admin/", admin.site.urls),
]

for prefix, module in [
    ("", "config.api.urls"),
    ("", "entitlements.api.urls"),
    ("", "payments.api.urls"),
    ("", "telegram_bot.api.urls"),
]:
    try:
        present = find_spec(module) is not None
    except ModuleNotFoundError:
        present = False
    if present:
        urlpatterns.append(path(prefix, include(module)))
