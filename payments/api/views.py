"""What is for sale, invoices, payments, and events of money that other services have parsed."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from uuid import UUID

from django.http import HttpResponse
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request

from config.api import idempotency, ratelimit
from config.api.formats import json_response, rfc3339, rfc3339_or_null
from config.api.pagination import page_of
from config.api.problems import Code, Problem
from config.api.views import BuyerView, OpenView, ProgramView, checked
from config.database import database_now
from entitlements.identities import customer_by_name
from entitlements.models import Scope
from entitlements.selectors import explain
from payments import currencies, invoicing, recording, refunding, selectors
from payments.api import serializers
from payments.api.answers import intent_row, payment_row, plan_row, refund_row, revenue_row, sent_invoice
from payments.api.problems import refusals_as_problems
from payments.channels.base import ChannelError, Unavailable
from payments.models import Invoice, Origin, PaymentMethod, Plan
from payments.money import STARS, Money
from payments.revenue import revenue
from payments.stripe import selling

CURSOR = OpenApiParameter("cursor", str, description="From `next` or `previous` of another page.")


class CatalogView(OpenView):
    @extend_schema(operation_id="catalog", responses=serializers.CatalogSerializer)
    def get(self, request: Request) -> HttpResponse:
        """What is for sale."""
        table = currencies.in_force()
        plans = Plan.objects.on_sale().prefetch_related("prices")
        return json_response({"plans": [plan_row(plan, table) for plan in plans]})


# --- Buyers ---------------------------------------------------------------------------------------------------------


class SendInvoiceView(BuyerView):
    problems = (
        Code.ALREADY_ACTIVE,
        Code.CHAT_UNAVAILABLE,
        Code.IDEMPOTENCY_CONFLICT,
        Code.IDEMPOTENCY_IN_PROGRESS,
        Code.UNKNOWN_PLAN,
        Code.CURRENCY_NOT_OFFERED,
        Code.PAYMENTS_DISABLED,
    )

    @extend_schema(
        operation_id="send_invoice",
        parameters=[idempotency.PARAMETER],
        request=serializers.OrderSerializer,
        responses=serializers.SentInvoiceSerializer,
    )
    def post(self, request: Request) -> HttpResponse:
        """Send me an invoice, into the chat with the bot or as a link. Five attempts in any 60 seconds."""
        once = idempotency.Once(request, caller=f"customer:{self.buyer.customer.pk}")
        if (answer := once.kept_answer()) is not None:
            return answer
        # Every attempt counts, also one whose body turns out to be wrong.
        invoicing.count_attempt(customer=self.buyer.customer)
        with once, refusals_as_problems():
            order = checked(serializers.OrderSerializer, request)
            order["delivery"] = invoicing.Delivery(order["delivery"])
            invoice = invoicing.send_invoice(customer=self.buyer.customer, **order)
            return once.keep(sent_invoice(invoice, order["delivery"]))


class BillingPortalView(BuyerView):
    problems = (Code.NOT_FOUND, Code.RATE_LIMITED)

    @extend_schema(operation_id="billing_portal", request=None, responses=serializers.BillingPortalSerializer)
    def post(self, request: Request) -> HttpResponse:
        """A page, good for minutes, where I see to my cards, receipts and subscriptions at Stripe."""
        customer = self.buyer.customer
        ratelimit.hit(subject=f"billing-portal:{customer.pk}", limit=5, window=timedelta(seconds=60))
        try:
            return json_response({"portal_link": selling.portal(customer)})
        except selling.NeverPaidByStripe as error:
            raise Problem(Code.NOT_FOUND) from error
        except Unavailable as error:
            raise Problem(Code.UNAVAILABLE, retry_after=error.retry_after) from error
        except ChannelError as error:
            raise Problem(Code.UNAVAILABLE) from error


class MyPaymentsView(BuyerView):
    problems = (Code.INVALID,)

    @extend_schema(operation_id="my_payments", parameters=[CURSOR], responses=serializers.PaymentPageSerializer)
    def get(self, request: Request) -> HttpResponse:
        """What I have paid, newest first."""
        return json_response(page_of(selectors.payments_of(self.buyer.customer.user_id), request, as_row=payment_row))


# --- Programs -------------------------------------------------------------------------------------------------------


class CustomerPaymentsView(ProgramView):
    scope = Scope.PAYMENTS_READ
    problems = (Code.INVALID,)

    @extend_schema(operation_id="customer_payments", parameters=[CURSOR], responses=serializers.PaymentPageSerializer)
    def get(self, request: Request, user_id: str) -> HttpResponse:
        """What a customer has paid, newest first. A user nobody has seen has paid nothing."""
        return json_response(page_of(selectors.payments_of(user_id), request, as_row=payment_row))


class PaymentView(ProgramView):
    scope = Scope.PAYMENTS_READ
    problems = (Code.NOT_FOUND,)

    @extend_schema(operation_id="payment", responses=serializers.OnePaymentSerializer)
    def get(self, request: Request, payment_id: UUID) -> HttpResponse:
        """One payment and its refunds."""
        payment = selectors.payment(payment_id)
        if payment is None:
            raise Problem(Code.NOT_FOUND)
        refunds = payment.refunds.order_by("occurred_at", "pk")
        return json_response({**payment_row(payment), "refunds": [refund_row(refund) for refund in refunds]})


class RefundPaymentView(ProgramView):
    scope = Scope.REFUNDS_WRITE
    problems = (
        Code.NOT_FOUND,
        Code.ALREADY_REFUNDED,
        Code.REFUND_PENDING,
        Code.IDEMPOTENCY_CONFLICT,
        Code.IDEMPOTENCY_IN_PROGRESS,
        Code.NOT_REFUNDABLE,
    )

    @extend_schema(
        operation_id="refund_payment",
        parameters=[idempotency.PARAMETER],
        request=serializers.RefundRequestSerializer,
        responses={202: serializers.RequestedRefundSerializer},
    )
    def post(self, request: Request, payment_id: UUID) -> HttpResponse:
        """Have a payment given back, whole. It is done by a worker; ask for the refund to see how it went."""
        caller = f"api:{self.program.prefix}"
        once = idempotency.Once(request, caller=caller)
        if (answer := once.kept_answer()) is not None:
            return answer
        with once, refusals_as_problems():
            asked = checked(serializers.RefundRequestSerializer, request)
            refund = refunding.request_refund(payment_id=payment_id, requested_by=caller, **asked)
            return once.keep({"refund_id": str(refund.pk), "status": refund.status}, status=202)


class RefundView(ProgramView):
    scope = Scope.REFUNDS_WRITE
    problems = (Code.NOT_FOUND,)

    @extend_schema(operation_id="refund", responses=serializers.RefundIntentSerializer)
    def get(self, request: Request, refund_id: UUID) -> HttpResponse:
        """How a refund stands."""
        refund = selectors.refund(refund_id)
        if refund is None:
            raise Problem(Code.NOT_FOUND)
        return json_response(intent_row(refund))


class RevenueView(ProgramView):
    scope = Scope.REVENUE_READ
    problems = (Code.INVALID,)

    @extend_schema(
        operation_id="revenue",
        parameters=[serializers.RevenueQuerySerializer],
        responses=serializers.RevenueSerializer,
    )
    def get(self, request: Request) -> HttpResponse:
        """Revenue by UTC day, month, plan, method and currency. Held and dismissed payments are not revenue."""
        asked = serializers.RevenueQuerySerializer(data=request.query_params)
        asked.is_valid(raise_exception=True)
        return json_response({"results": [revenue_row(row) for row in revenue(**asked.validated_data)]})


class ExplainView(ProgramView):
    """Lives with the payments, for it joins access with the money it came from."""

    scope = Scope.ENTITLEMENTS_READ

    @extend_schema(operation_id="explain_entitlement", responses=serializers.ExplanationSerializer)
    def get(self, request: Request, user_id: str, code: str) -> HttpResponse:
        """What gave and took an entitlement, oldest first."""
        explanation = explain(user_id, code)
        payments = selectors.payments_behind({reason.source for reason in explanation.reasons})
        return json_response(
            {
                "entitlement": code,
                "active": explanation.active,
                "expires_at": rfc3339_or_null(explanation.access.ends_at if explanation.access else None),
                "steps": [
                    {
                        "at": rfc3339(reason.at),
                        "what": reason.what,
                        "source": reason.source,
                        "effect_on_end": rfc3339_or_null(reason.access.ends_at),
                        "payment_id": str(payments[reason.source]) if reason.source in payments else None,
                    }
                    for reason in explanation.reasons
                ],
            }
        )


class SuccessfulPaymentView(ProgramView):
    scope = Scope.PAYMENTS_INGEST

    @extend_schema(
        operation_id="report_payment",
        request=serializers.PaymentReportSerializer,
        responses=serializers.RecordedPaymentSerializer,
    )
    def post(self, request: Request) -> HttpResponse:
        """Record a payment that another service received from Telegram. Repeating it changes nothing."""
        report = checked(serializers.PaymentReportSerializer, request)
        reference = report.get("invoice_id", "")
        invoice = our_invoice(reference)
        money = Money(report["total_amount"], report["currency"])
        stars = money.currency == STARS
        recorded = recording.record_payment(
            recording.ReceivedPayment(
                method=PaymentMethod.TELEGRAM_STARS if stars else PaymentMethod.TELEGRAM_PROVIDER,
                charge_id=report["telegram_payment_charge_id"],
                provider_charge_id=report.get("provider_payment_charge_id", ""),
                money=money,
                occurred_at=database_now(),
                origin=Origin.API,
                raw=request.body,
                payer=customer_by_name(report["user_id"]),
                invoice=invoice,
                payload="" if invoice else reference,
                plan_code=report["entitlement_type"],
            )
        )
        payment_id = str(recorded.event.pk) if recorded.event else None
        return json_response({"status": recorded.outcome.value, "payment_id": payment_id})


def our_invoice(reference: str) -> Invoice | None:
    """The invoice whose id it is; None for a reference of the sender's own."""
    with suppress(ValueError):
        return Invoice.objects.filter(pk=UUID(reference)).first()
    return None


class RefundedPaymentView(ProgramView):
    scope = Scope.PAYMENTS_INGEST

    @extend_schema(
        operation_id="report_refund",
        request=serializers.RefundReportSerializer,
        responses=serializers.RecordedRefundSerializer,
    )
    def post(self, request: Request) -> HttpResponse:
        """Record that a payment was given back, and take back what it gave. Repeating it changes nothing."""
        report = checked(serializers.RefundReportSerializer, request)
        charge_id = report["telegram_payment_charge_id"]
        recorded = recording.record_refund(
            recording.ReceivedRefund(
                method=selectors.method_of(charge_id),
                charge_id=charge_id,
                money=None,
                occurred_at=database_now(),
                origin=Origin.API,
                raw=request.body,
                payer=customer_by_name(report["user_id"]),
                reason=report["refund_reason"],
            )
        )
        return json_response({"status": recorded.outcome.value})
