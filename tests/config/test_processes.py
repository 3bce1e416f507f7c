"""What /metrics says when several processes count, and some of them are killed: money stays what the ledger says."""

import os
import signal
import ssl
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import httpx
import psutil
import pytest
from django.conf import settings
from django.db.models import Sum

from payments.models import CheckoutDecision, PaymentEvent
from telegram_bot.webhook import PATH, SECRET_HEADER
from tests import updates
from tests.config.reading import read
from tests.config.test_serve import serving
from tests.factories import CustomerFactory, InvoiceFactory
from tests.ports import free_port

NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # else each client reads all the authorities of the world
PAYMENTS = 20
COUNTED = 'telegram_payments_total{plan_code="gold_1m",result="success"}'
VALUE = 'telegram_payment_value_total{currency="XTR",plan_code="gold_1m"}'
OPEN = "telegram_payments_pending"
ASKED = 'telegram_precheck_total{reason="",result="ok"}'
TIMED = "telegram_precheck_seconds_count"


class Web:
    """A web server at a port of its own, in production settings."""

    def __init__(self, stack: ExitStack, directory: str) -> None:
        port = free_port()
        self.process = stack.enter_context(serving(port, PROMETHEUS_MULTIPROC_DIR=directory))
        self.client = stack.enter_context(httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, verify=NO_TLS))

    def post(self, update: dict) -> int | None:
        """The status; None when there was no answer."""
        headers = {SECRET_HEADER: settings.TELEGRAM_WEBHOOK_SECRETS[0]}
        try:
            return self.client.post(PATH, content=updates.body(update), headers=headers).status_code
        except httpx.TransportError:
            return None

    def scrape(self) -> dict[str, float]:
        answer = self.client.get("/metrics", headers={"Authorization": "Bearer the-token-of-the-tests"})
        return read(answer.raise_for_status().text)

    def kill(self) -> None:
        """As a power cut does, with all its processes."""
        for process in (*psutil.Process(self.process.pid).children(recursive=True), self.process):
            os.kill(process.pid, signal.SIGKILL)
        self.process.communicate(timeout=60)


@pytest.mark.django_db(transaction=True)
def test_figures_of_several_web_servers_are_exact_though_one_is_killed_at_work(tmp_path, gold):
    """They share a directory for what each counts by itself; money and gauges come from the books."""
    invoices = [InvoiceFactory(plan=gold, customer=CustomerFactory()) for _ in range(PAYMENTS)]
    checkouts = [updates.pre_checkout(invoice, query_id=invoice.payload) for invoice in invoices]
    payments = [updates.payment(invoice, charge_id=f"stx{invoice.payload}") for invoice in invoices]
    with ExitStack() as stack:
        first, second = Web(stack, str(tmp_path)), Web(stack, str(tmp_path))

        for web, some in ((first, checkouts[:12]), (second, checkouts[12:])):
            assert {web.post(checkout) for checkout in some} == {200}
        assert first.post(payments[0]) == second.post(payments[1]) == 200
        for web in (first, second):
            seen = web.scrape()
            assert (seen[ASKED], seen[TIMED]) == (PAYMENTS, PAYMENTS)
            assert (seen[COUNTED], seen[VALUE], seen[OPEN]) == (2, 1000, PAYMENTS - 2)

        with ThreadPoolExecutor(8) as threads:
            under_way = [threads.submit(second.post, payment) for payment in payments]
            next(answer for answer in under_way if answer.result() == 200)
            second.kill()
            statuses = [answer.result() for answer in under_way]
        seen = first.scrape()
        recorded = PaymentEvent.objects.aggregate(sum=Sum("amount"))["sum"]
        assert (seen[VALUE], seen[COUNTED]) == (recorded, recorded // 500)
        assert seen[COUNTED] >= statuses.count(200)
        assert seen[ASKED] == seen[TIMED] == CheckoutDecision.objects.count() == PAYMENTS

        # Telegram brings again what was not answered, and more than that.
        assert {first.post(payment) for payment in payments} == {200}
        seen = first.scrape()
        assert (seen[COUNTED], seen[VALUE], seen[OPEN]) == (PAYMENTS, PAYMENTS * 500, 0)
