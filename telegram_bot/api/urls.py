"""The addresses of the endpoints that know Telegram."""

from django.urls import path

from telegram_bot.api.views import ExchangeInitDataView, ValidateCheckoutView

urlpatterns = [
    path("api/v1/miniapp/exchange-initdata", ExchangeInitDataView.as_view()),
    path("api/v1/telegram/payment/validate", ValidateCheckoutView.as_view()),
]
