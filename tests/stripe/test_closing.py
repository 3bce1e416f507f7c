"""Pages of Stripe for what their buyers have by now are closed, whatever happens meanwhile; all others stay open."""

from datetime import timedelta

import pytest

from config.database import database_now, release_connection
from entitlements import services as access
from payments import checkout, expiry, tallies, tasks
from payments.models import Hold, Invoice, PaymentEvent, PaymentMethod, Refund, WhenActive
from payments.recording import record_payment
from payments.stripe import selling
from payments.stripe.closing import close_needless_pages
from tests.books import faults_in_the_books
from tests.factories import CustomerFactory, InvoiceFactory, PlanFactory
from tests.faults.crashing import boundaries, die_at
from tests.payments.reports import payment_of
from tests.stripe.shop import by_stripe, club, quoted

pytestmark = pytest.mark.django_db(transaction=True)

LIST, EXPIRE = "GET /v1/checkout/sessions", "POST /v1/checkout/sessions/:id/expire"


class Page:
    """A page of Stripe that lies open before its buyer."""

    def __init__(self, stripe, **facts) -> None:
        self.stripe = stripe
        self.invoice = quoted(**facts)
        self.name = selling.deliver(self.invoice, to_chat=False).link.rpartition("/")[2]

    @property
    def status(self) -> str:
        """At Stripe."""
        return self.stripe.account.objects[self.name]["status"]

    @property
    def invoice_status(self) -> str:
        return Invoice.objects.get(pk=self.invoice.pk).status

    def is_needless(self) -> "Page":
        """Its buyer pays in Stars meanwhile."""
        record_payment(stars_for(self.invoice))
        return self


@pytest.fixture
def page(stripe) -> Page:
    return Page(stripe)


def stars_for(invoice, **facts):
    """The payment of an invoice in the chat, for the same plan if nothing else is said."""
    stars = InvoiceFactory(**{"customer": invoice.customer, "plan": invoice.plan, **facts})
    return payment_of(stars, charge_id=f"stx-{stars.pk}")


def cancelled() -> int:
    return sum(total.count for total in tallies.totals() if total.result == "cancelled")


class TestANeedlessPage:
    def test_takes_no_more_money(self, stripe, page):
        page.is_needless()

        assert close_needless_pages() == 1

        assert (page.status, page.invoice_status, cancelled()) == ("expired", "expired", 1)
        with pytest.raises(Exception, match="not open"):
            stripe.account.pay(page.name)
        assert faults_in_the_books() == []

    def test_is_closed_once(self, stripe, page):
        page.is_needless()
        close_needless_pages()

        assert close_needless_pages() == 0

        assert len(stripe.local.calls(LIST)) == len(stripe.local.calls(EXPIRE)) == cancelled() == 1

    def test_is_one_whose_buyer_has_paid_by_card_in_the_chat(self, page):
        card = {"payment_method": PaymentMethod.TELEGRAM_PROVIDER, "amount": 2500, "currency": "GBP"}
        record_payment(stars_for(page.invoice, **card))

        assert (close_needless_pages(), page.status) == (1, "expired")

    def test_is_one_whose_buyer_has_paid_on_another(self, stripe, page):
        other = Page(stripe, customer=page.invoice.customer)
        stripe.account.pay(other.name)
        stripe.tells()

        assert close_needless_pages() == 1
        assert (page.status, other.status, other.invoice_status) == ("expired", "complete", "paid")

    def test_is_one_whose_buyer_has_the_same_by_another_plan(self, page):
        record_payment(stars_for(page.invoice, plan=PlanFactory(code="gold_3m", duration_days=90)))

        assert (close_needless_pages(), page.status) == (1, "expired")

    def test_is_one_whose_buyer_was_given_it_by_staff(self, page):
        give(page.invoice, "gold")

        assert (close_needless_pages(), page.status) == (1, "expired")

    def test_for_a_subscription_is_closed_as_well(self, stripe):
        page = Page(stripe, plan=club(), amount=900)
        give(page.invoice, "club")

        assert (close_needless_pages(), page.status) == (1, "expired")


class TestAnyOtherPage:
    def test_stays_open_while_nothing_is_bought(self, page):
        assert (close_needless_pages(), page.status) == (0, "open")

    def test_stays_open_when_somebody_else_buys(self, page):
        record_payment(stars_for(page.invoice, customer=CustomerFactory()))

        assert (close_needless_pages(), page.status) == (0, "open")

    def test_stays_open_when_something_else_is_bought(self, page):
        record_payment(stars_for(page.invoice, plan=PlanFactory(code="silver_1m", entitlement="silver")))

        assert (close_needless_pages(), page.status) == (0, "open")

    def test_stays_open_where_a_second_purchase_adds_to_the_first(self, stripe):
        page = Page(stripe, plan=by_stripe(PlanFactory(code="gold_more", when_active=WhenActive.EXTEND)))
        page.is_needless()

        assert (close_needless_pages(), page.status) == (0, "open")

    def test_stays_open_while_there_is_but_the_grace_of_a_subscription(self, stripe, settings):
        settings.SUBSCRIPTION_GRACE = timedelta(hours=30)
        page = Page(stripe, plan=club(), amount=900)
        long_ago = database_now() - timedelta(days=31)
        stars = InvoiceFactory(customer=page.invoice.customer, plan=page.invoice.plan, amount=300)
        record_payment(payment_of(stars, occurred_at=long_ago, period_ends_at=long_ago + timedelta(days=30)))

        assert (close_needless_pages(), page.status) == (0, "open")

    def test_is_left_to_who_has_the_key(self, settings, page):
        page.is_needless()
        settings.STRIPE_SECRET_KEY = ""

        assert (close_needless_pages(), page.status) == (0, "open")


class TestABuyerWhoIsQuicker:
    """The second payment is held and given back, as ever."""

    def test_while_his_page_is_being_closed(self, stripe, page, monkeypatch):
        page.is_needless()
        expire = stripe.account.expire_session
        monkeypatch.setattr(
            stripe.account, "expire_session", lambda name, given: (stripe.account.pay(name), expire(name, given))[1]
        )

        assert close_needless_pages() == 0
        stripe.tells()

        self.is_given_his_money_back(page)

    def test_by_a_moment(self, stripe, page):
        page.is_needless()
        stripe.account.pay(page.name)

        assert close_needless_pages() == 0
        stripe.tells()

        assert stripe.local.calls(EXPIRE) == []
        self.is_given_his_money_back(page)

    def test_through_a_bank_that_takes_days(self, stripe, page):
        page.is_needless()
        stripe.account.pay(page.name, delayed=True)

        assert close_needless_pages() == 0
        stripe.account.settle(page.name)
        stripe.tells()

        self.is_given_his_money_back(page)

    def is_given_his_money_back(self, page: Page) -> None:
        assert (page.status, page.invoice_status, cancelled()) == ("complete", "paid", 0)
        assert [(hold.reason, hold.event.payment_method) for hold in Hold.objects.all()] == [("bought_twice", "stripe")]
        assert Refund.objects.get().payment == PaymentEvent.objects.get(payment_method="stripe", cost_of=None)
        assert close_needless_pages() == 0
        assert faults_in_the_books() == []


class TestWhatGoesWrong:
    @pytest.mark.parametrize("fault", ["429", "cut_before", "cut_after_effect", "half_json"])
    @pytest.mark.parametrize("operation", [LIST, EXPIRE])
    def test_with_a_call_is_made_good_by_the_job_of_the_next_minute(self, stripe, page, operation, fault):
        page.is_needless()
        stripe.faults.order(operation, fault)

        tasks.close_needless_pages(timestamp=0)
        assert page.invoice_status == "sent"

        tasks.close_needless_pages(timestamp=60)
        assert (page.status, page.invoice_status, cancelled()) == ("expired", "expired", 1)

    @pytest.mark.parametrize("fault", ["refuse", "500"])
    def test_with_one_page_keeps_no_other_open(self, stripe, fault):
        pages = [Page(stripe).is_needless() for _ in range(2)]
        stripe.faults.order(EXPIRE, fault)

        assert close_needless_pages() == 1
        assert close_needless_pages() == 1

        assert [page.status for page in pages] == ["expired"] * 2

    def test_when_it_lapses_meanwhile_is_not_counted_twice(self, stripe, page, monkeypatch):
        page.is_needless()
        expire = stripe.account.expire_session

        def lapses(name, given):
            expiry.expire_invoices(now=page.invoice.expires_at)
            release_connection()
            return expire(name, given)

        monkeypatch.setattr(stripe.account, "expire_session", lapses)

        assert close_needless_pages() == 0
        assert (page.invoice_status, cancelled()) == ("expired", 1)

    def test_before_a_page_is_made_is_made_good_when_it_is(self, stripe):
        invoice = quoted()
        stripe.charges(quoted(customer=invoice.customer, plan=club(), amount=900))  # so Stripe knows him
        record_payment(stars_for(invoice))
        assert close_needless_pages() == 0

        name = selling.deliver(invoice, to_chat=False).link.rpartition("/")[2]

        assert close_needless_pages() == 1
        assert stripe.account.objects[name]["status"] == "expired"

    def test_dying_at_any_boundary_leaves_no_page_open(self, stripe):
        """The first of them is between the payment and all this."""

        def about_to_be_closed():
            Page(stripe).is_needless()
            return close_needless_pages

        total = boundaries(about_to_be_closed())
        for boundary in range(total):
            die_at(boundary, about_to_be_closed())
        close_needless_pages()

        assert {each["status"] for each in stripe.account.all("checkout.session")} == {"expired"}
        assert cancelled() == Invoice.objects.filter(status="expired").count() == total + 1
        assert faults_in_the_books() == []


def test_an_invoice_in_the_chat_is_refused_at_checkout_once_it_is_paid_by_stripe(stripe, page):
    stars = InvoiceFactory(customer=page.invoice.customer, plan=page.invoice.plan)
    stripe.account.pay(page.name)
    stripe.tells()
    query = checkout.PreCheckout("query", stars.payload, stars.customer.telegram_user_id, stars.amount, stars.currency)

    with pytest.raises(checkout.CheckoutRefused, match="already_active"):
        checkout.validate_checkout(query=query)


def give(invoice, entitlement: str) -> None:
    access.grant(
        customer=invoice.customer,
        entitlement=entitlement,
        source="staff:7",
        granted_at=database_now(),
        duration=timedelta(days=1),
    )
