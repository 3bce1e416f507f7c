"""The addresses of the payment endpoints."""

from django.urls import path

import config.api.converters  # noqa: F401 - for the addresses with a user_id
from payments.api import views

urlpatterns = [
    path("api/v1/catalog", views.CatalogView.as_view()),
    path("api/v1/telegram/payment/send-invoice", views.SendInvoiceView.as_view()),
    path("api/v1/me/billing-portal", views.BillingPortalView.as_view()),
    path("api/v1/me/payments", views.MyPaymentsView.as_view()),
    path("api/v1/customers/<user_id:user_id>/payments", views.CustomerPaymentsView.as_view()),
    path("api/v1/customers/<user_id:user_id>/entitlements/<str:code>/explain", views.ExplainView.as_view()),
    path("api/v1/payments/<uuid:payment_id>", views.PaymentView.as_view()),
    path("api/v1/payments/<uuid:payment_id>/refund", views.RefundPaymentView.as_view()),
    path("api/v1/refunds/<uuid:refund_id>", views.RefundView.as_view()),
    path("api/v1/revenue", views.RevenueView.as_view()),
    path("webhook/telegram/successful_payment", views.SuccessfulPaymentView.as_view()),
    path("webhook/telegram/refund", views.RefundedPaymentView.as_view()),
]
