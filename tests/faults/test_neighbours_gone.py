"""T25, T37: while the Bot API and Redis refuse or say nothing, payments are recorded and invoices refused in time."""

import socket
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from django.conf import settings

from payments.models import PaymentEvent
from telegram_bot.webhook import PATH, SECRET_HEADER
from tests import updates
from tests.api.conftest import claims_of, signed
from tests.config.test_serve import serving
from tests.factories import CustomerFactory, InvoiceFactory
from tests.ports import free_port

pytestmark = pytest.mark.alone

BUYERS, PAYMENTS = 20, 40
SEND_INVOICE = "/api/v1/telegram/payment/send-invoice"
ANSWERED_WITHIN = 10.0  # seconds


@pytest.fixture(params=["refuses", "says nothing"])
def nobody(request):
    """A port where connections are refused, or taken and never answered."""
    if request.param == "refuses":
        yield free_port()
        return
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as silent:
        yield silent.getsockname()[1]


@pytest.mark.django_db(transaction=True)
def test_payments_do_not_notice_and_an_invoice_is_refused_in_time(nobody, gold):
    buyers = [signed(claims_of(CustomerFactory())) for _ in range(BUYERS)]
    invoices = [InvoiceFactory(plan=gold, customer=CustomerFactory()) for _ in range(PAYMENTS)]
    port = free_port()
    elsewhere = {"TELEGRAM_API_BASE_URL": f"http://127.0.0.1:{nobody}", "REDIS_URL": f"redis://127.0.0.1:{nobody}/0"}

    with (
        serving(port, LOG_LEVEL="CRITICAL", **elsewhere),  # nobody reads what it says
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client,
        ThreadPoolExecutor(BUYERS) as threads,
    ):

        def asks_for_an_invoice(token: str) -> tuple[httpx.Response, float]:
            began = time.monotonic()
            answer = client.post(
                SEND_INVOICE, json={"plan_code": "gold_1m"}, headers={"Authorization": f"Bearer {token}"}
            )
            return answer, time.monotonic() - began

        asking = [threads.submit(asks_for_an_invoice, token) for token in buyers]
        paid = [
            client.post(
                PATH,
                content=updates.body(updates.payment(invoice, charge_id=f"stx{invoice.payload}")),
                headers={SECRET_HEADER: settings.TELEGRAM_WEBHOOK_SECRETS[0]},
            )
            for invoice in invoices
        ]
        refused = [future.result() for future in asking]

    assert {answer.status_code for answer in paid} == {200}
    assert PaymentEvent.objects.count() == PAYMENTS
    assert {answer.status_code for answer, _ in refused} == {503}
    assert all(int(answer.headers["Retry-After"]) > 0 for answer, _ in refused)
    assert max(seconds for _, seconds in refused) < ANSWERED_WITHIN
