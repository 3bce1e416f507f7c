import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.auth.models import User
from django.db import connection
from django.db.transaction import atomic, set_rollback
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from config.admin import MOST_SHOWN, LargeTableAdmin, as_text
from entitlements.models import ApiClient, Customer
from payments.models import PaymentEvent
from tests.admin_pages.test_audit import saves
from tests.everything import write_one_of_everything
from tests.factories import InvoiceFactory
from tests.payments.test_tallies import NO_TIME, paid
from tests.staff import signed_in

OURS = [
    model for app in ("entitlements", "payments", "telegram_bot") for model in apps.get_app_config(app).get_models()
]
EDITABLE = {Customer, ApiClient}
WHY = {"reason": "So."}

pytestmark = pytest.mark.django_db


@pytest.fixture
def dana() -> Client:
    """Staff who may do everything that the admin offers."""
    return signed_in(User.objects.create_superuser("dana"))


@pytest.fixture(scope="class")
def house(django_db_setup, django_db_blocker):
    """Written once for all tests of a class: each takes back what it does, and the class the rest."""
    transaction = atomic()
    transaction._from_testcase = True  # as Django's own tests say it: what must be outermost may be within
    with django_db_blocker.unblock(), transaction:
        invoice = InvoiceFactory()
        write_one_of_everything(invoice.customer, invoice.plan, invoice)
        yield
        set_rollback(True)


def address(model, page: str, *args: object) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{page}", args=args)


@pytest.mark.parametrize("model", OURS, ids=lambda model: model.__name__)
class TestEveryModel:
    def test_has_a_list_and_a_page(self, dana, house, model):
        row = model.objects.first()

        listed = dana.get(address(model, "changelist"))
        shown = dana.get(address(model, "change", row.pk))

        assert (listed.status_code, shown.status_code) == (200, 200)
        assert b"<script>alert" not in shown.content

    def test_is_searched_by_whatever_people_type(self, dana, house, model):
        for typed in ("7", "nothing", "9" * 30, "'); --", "00000000-0000-0000-0000-000000000000", "a b", "%"):
            assert dana.get(address(model, "changelist"), {"q": typed}).status_code == 200

    def test_lists_without_a_query_for_each_row(self, dana, house, model):
        with CaptureQueriesContext(connection) as queries:
            dana.get(address(model, "changelist"))

        assert len(queries) <= 10

    def test_is_not_changed_by_reading_it(self, dana, house, model):
        row = model.objects.first()

        with CaptureQueriesContext(connection) as queries:
            dana.get(address(model, "changelist"), {"q": "7"})
            dana.get(address(model, "change", row.pk))

        harmless = ("SELECT", "SAVEPOINT", "RELEASE")
        assert not [query["sql"] for query in queries if not query["sql"].lstrip().startswith(harmless)]

    def test_is_neither_added_nor_deleted_here(self, dana, house, model):
        row = model.objects.first()

        assert dana.get(address(model, "add")).status_code == 403
        assert dana.post(address(model, "delete", row.pk), {"post": "yes"}).status_code == 403

    def test_is_changed_here_only_where_that_is_ours_to_do(self, dana, house, model):
        row = model.objects.first()

        answer = dana.post(address(model, "change", row.pk), {})

        assert answer.status_code == (200 if model in EDITABLE else 403)

    def test_is_for_staff_alone(self, house, model):
        assert Client().get(address(model, "changelist")).status_code == 302
        carol = signed_in(User.objects.create_user("carol", is_staff=True))
        assert carol.get(address(model, "changelist")).status_code == 403


class TestCustomers:
    def test_can_be_blocked_and_nothing_else_changes(self, dana, alice):
        given = {"blocked_at_0": "2026-11-01", "blocked_at_1": "12:00:00", "user_id": "someone-else"}
        inlines = {
            f"{prefix}-{name}": "0"
            for prefix in ("entitlements", "grants")
            for name in ("TOTAL_FORMS", "INITIAL_FORMS")
        }

        assert saves(dana, alice, given | inlines | WHY).status_code == 302

        before = alice.user_id
        alice.refresh_from_db()
        assert alice.user_id == before
        assert alice.blocked_at.isoformat() == "2026-11-01T12:00:00+00:00"


class TestApiClients:
    def test_can_be_limited_and_their_secret_is_never_shown(self, dana, house):
        client = ApiClient.objects.get()
        page = dana.get(address(ApiClient, "change", client.pk)).content

        assert b"\xca" not in page
        assert b"cacaca" not in page
        assert b"secret_hash" not in page

        given = {"name": "shop", "scopes": ["payments:read"], "requests_per_minute": "60"} | WHY
        assert saves(dana, client, given).status_code == 302
        client.refresh_from_db()
        assert (client.scopes, client.requests_per_minute) == (["payments:read"], 60)

    def test_cannot_be_given_a_scope_that_does_not_exist(self, dana, house):
        client = ApiClient.objects.get()

        answer = saves(dana, client, {"name": "shop", "scopes": ["everything"]} | WHY)

        assert answer.status_code == 200
        assert answer.context["adminform"].errors.keys() == {"scopes"}


class TestSearching:
    @pytest.mark.parametrize("by", ["event_id", "id", "customer.user_id", "customer.telegram_user_id"])
    def test_finds_a_payment_by_each_of_its_names(self, dana, alice, bob, gold, by):
        wanted, _ = paid(alice, gold, ago=NO_TIME), paid(bob, gold, ago=NO_TIME)
        name = wanted
        for part in by.split("."):
            name = getattr(name, part)

        listed = dana.get(address(PaymentEvent, "changelist"), {"q": str(name)})

        assert list(listed.context["cl"].result_list) == [wanted]

    @pytest.mark.parametrize("model", OURS, ids=lambda model: model.__name__)
    def test_asks_indexes_alone(self, dana, house, model):
        page = admin.site.get_model_admin(model)
        if not isinstance(page, LargeTableAdmin):
            assert model is ApiClient  # of which there are few
            return
        typed = "00000000-0000-0000-0000-000000000000" if model is PaymentEvent else "7"
        found, _ = page.get_search_results(None, model.objects.all(), typed)
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL enable_seqscan = off")

        assert "Seq Scan" not in (found.explain() if page.search_fields else "")


class TestBytes:
    def test_are_shown_whatever_they_hold_and_cut_where_they_are_too_many(self):
        assert as_text(b"\xff{}") == "\\xff{}"
        assert as_text(b"x" * (MOST_SHOWN + 1)) == "x" * MOST_SHOWN + f"… ({MOST_SHOWN + 1} characters)"
