"""The API is what its description says: whatever is sent, no 500 and no answer outside the schema."""

import json
import re
from pathlib import Path

import pytest
import schemathesis
from django.contrib.staticfiles import finders
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import CHECKS

from config.api.problems import Code
from config.wsgi import application
from entitlements.models import Scope
from payments import invoicing
from payments.recording import record_payment
from tests.api.conftest import buyer, program
from tests.factories import CustomerFactory, InvoiceFactory, PlanFactory
from tests.payments.reports import payment_of

CONTRACT = {
    "POST /api/v1/miniapp/exchange-initdata": None,
    "GET /api/v1/catalog": None,
    "POST /api/v1/telegram/payment/send-invoice": "buyer",
    "GET /api/v1/me/entitlements": "buyer",
    "GET /api/v1/me/payments": "buyer",
    "POST /api/v1/me/billing-portal": "buyer",
    "POST /api/v1/telegram/payment/validate": "program",
    "POST /webhook/telegram/successful_payment": "program",
    "POST /webhook/telegram/refund": "program",
    "GET /api/v1/customers/{user_id}/entitlements": "program",
    "GET /api/v1/customers/{user_id}/entitlements/{code}/explain": "program",
    "POST /api/v1/entitlements/check": "program",
    "GET /api/v1/customers/{user_id}/payments": "program",
    "GET /api/v1/payments/{payment_id}": "program",
    "POST /api/v1/payments/{payment_id}/refund": "program",
    "GET /api/v1/refunds/{refund_id}": "program",
    "GET /api/v1/revenue": "program",
}

described = schemathesis.openapi.from_wsgi("/api/schema/", application)
described.config.generation.update(with_security_parameters=False)  # the right ones are given


@pytest.fixture
def credentials(transactional_db, telegram, monkeypatch):
    """A shop that has sold something, and for each security scheme a caller who may do everything."""
    monkeypatch.setattr(invoicing, "ATTEMPTS_PER_MINUTE", 10_000)
    alice = CustomerFactory()
    telegram.person("Alice", user_id=alice.telegram_user_id).says("/start")
    record_payment(payment_of(InvoiceFactory(customer=alice, plan=PlanFactory(when_active="extend"))))
    return {"buyer": buyer(alice).credentials, "program": program(*Scope).credentials, None: {}}


@pytest.mark.django_db(transaction=True)
@described.parametrize()
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
def test_every_answer_is_in_the_schema(case, credentials):
    caller = credentials[CONTRACT[f"{case.method} {case.path}"]]

    # What the schema cannot say is refused all the same: a plan that is not on sale, 1.0 for an integer.
    case.call_and_validate(headers=caller, excluded_checks=[CHECKS.get_one("positive_data_acceptance")])


class TestTheDescription:
    @pytest.fixture
    def schema(self, nobody):
        return nobody.get("/api/schema/").json()

    def test_names_every_call_of_the_contract_and_who_may_make_it(self, schema):
        operations = {
            f"{method.upper()} {path}": next((name for each in operation.get("security", []) for name in each), None)
            for path, methods in schema["paths"].items()
            for method, operation in methods.items()
        }

        assert schema["openapi"] == "3.1.0"
        assert operations == CONTRACT

    def test_says_of_each_call_which_problems_it_answers_with(self, schema):
        operation = schema["paths"]["/api/v1/telegram/payment/send-invoice"]["post"]

        assert list(operation["responses"]) == ["200", "400", "401", "403", "409", "413", "415", "422", "429", "503"]
        for status, response in operation["responses"].items():
            expected = "application/json" if status == "200" else "application/problem+json"
            assert list(response["content"]) == [expected]
        assert "already_active" in operation["responses"]["409"]["description"]
        assert "Retry-After" in operation["responses"]["429"]["headers"]

    def test_opens_with_the_table_of_all_problems(self, schema):
        for code in Code:
            assert f"| {code.status} | `{code.word}` | {code.title} |" in schema["info"]["description"]


class TestTheDocumentationPage:
    def test_loads_nothing_but_our_own_files(self, nobody):
        page = nobody.get("/api/docs/")

        assert page.status_code == 200
        addresses = re.findall(r'(?:src|href)="([^"]*)"', page.text)
        assert len(addresses) >= 4
        for address in addresses:
            if address.startswith("/static/"):
                assert Path(finders.find(address.removeprefix("/static/"))).is_file()
            else:
                assert address.startswith("/api/docs/?")
                assert nobody.get(address)["Content-Type"] == "application/javascript"

    def test_may_run_no_script_but_our_own_files(self, nobody):
        page = nobody.get("/api/docs/")
        policy = dict(each.strip().split(" ", 1) for each in page["Content-Security-Policy"].split(";"))

        assert policy["script-src"] == policy["connect-src"] == "'self'"
        assert "<script>" not in page.text
        assert not re.search(r"\son\w+=", page.text)

    def test_asks_for_the_description(self, nobody):
        script = nobody.get("/api/docs/?script=").text

        assert json.dumps("/api/schema/") in script.replace("\\u002D", "-")
