"""Every error is a problem, and the table of codes is the contract's."""

import json

import psycopg
import pytest
from django.core.exceptions import DisallowedHost, PermissionDenied
from django.db import OperationalError, connection
from django.http import Http404
from django.test import Client, RequestFactory, override_settings
from rest_framework import exceptions
from rest_framework.permissions import AllowAny
from rest_framework.test import APIRequestFactory

from config.api.problems import Code, Problem, bad_request, not_found, permission_denied, server_error
from config.api.ratelimit import RateLimited
from config.api.views import ApiView
from tests.api.conftest import problem_of, program

CONTRACT = {
    400: {"malformed"},
    401: {"not_authenticated", "invalid_token"},
    403: {"forbidden", "entitlement_required", "customer_blocked"},
    404: {"not_found"},
    405: {"method_not_allowed"},
    409: {
        "already_active",
        "already_refunded",
        "refund_pending",
        "chat_unavailable",
        "idempotency_conflict",
        "idempotency_in_progress",
    },
    413: {"too_large"},
    415: {"unsupported_media_type"},
    422: {"unknown_plan", "currency_not_offered", "not_refundable", "invalid"},
    429: {"rate_limited"},
    500: {"internal"},
    503: {"unavailable", "payments_disabled"},
}


def test_the_codes_are_those_of_the_contract():
    by_status: dict[int, set[str]] = {}
    for code in Code:
        by_status.setdefault(code.status, set()).add(code.word)
    assert by_status == CONTRACT


def answer_to(error: Exception):
    class Failing(ApiView):
        permission_classes = [AllowAny]

        def get(self, request):
            raise error

    return Failing.as_view()(APIRequestFactory().get("/api/v1/failing"))


class TestAViewThatRaises:
    @pytest.mark.parametrize(
        ("error", "answer"),
        [
            (Problem(Code.UNKNOWN_PLAN), (422, "unknown_plan")),
            (RateLimited(7), (429, "rate_limited")),
            (exceptions.NotAuthenticated(), (401, "not_authenticated")),
            (exceptions.PermissionDenied(), (403, "forbidden")),
            (PermissionDenied(), (403, "forbidden")),
            (Http404(), (404, "not_found")),
            (exceptions.NotFound(), (404, "not_found")),
            (DisallowedHost(), (400, "malformed")),
            (exceptions.ParseError(), (400, "malformed")),
            (exceptions.ValidationError({"plan_code": ["Wrong."]}), (422, "invalid")),
            (OperationalError("the connection was lost"), (503, "unavailable")),
            (psycopg.OperationalError("outside of Django"), (500, "internal")),
            (ZeroDivisionError(), (500, "internal")),
        ],
    )
    def test_answers_with_a_problem(self, error, answer):
        response = answer_to(error)

        response.json = lambda: json.loads(response.content)
        assert problem_of(response) == answer
        assert b"Traceback" not in response.content
        assert b"lost" not in response.content

    def test_says_how_long_to_wait(self):
        assert answer_to(RateLimited(7))["Retry-After"] == "7"
        assert answer_to(Problem(Code.UNAVAILABLE, retry_after=0.2))["Retry-After"] == "1"

    def test_logs_what_nobody_expected_with_its_stack(self, logged):
        """6.8"""
        answer_to(ZeroDivisionError("boom"))

        (line,) = [line for line in logged if line["log_level"] == "error"]
        assert isinstance(line["exc_info"], ZeroDivisionError)

    def test_names_fields_within_fields_by_dots(self):
        response = answer_to(exceptions.ValidationError({"a": {"b": ["x"]}, "list": [{}, {"c": ["y", "z"]}], "d": "w"}))

        assert json.loads(response.content)["errors"] == {"a.b": ["x"], "list.1.c": ["y", "z"], "d": ["w"]}


class TestOutsideOfViews:
    @pytest.mark.parametrize("path", ["/api/", "/api/nope", "/api/v1/catalog/", "/webhook/nope", "/api/v1//catalog"])
    def test_an_unknown_address_is_a_problem_and_no_redirect(self, nobody, path):
        assert problem_of(nobody.get(path)) == (404, "not_found")

    @override_settings(DEBUG=True)
    def test_an_unknown_address_is_a_problem_while_debugging_too(self, nobody):
        assert problem_of(nobody.get("/api/nope")) == (404, "not_found")

    def test_an_unknown_address_elsewhere_is_a_page(self, nobody):
        assert nobody.get("/nope")["Content-Type"].startswith("text/html")

    @pytest.mark.parametrize("method", ["put", "patch", "delete", "options", "trace", "post"])
    def test_a_method_nobody_knows_is_a_problem(self, db, method):
        response = getattr(Client(), method)("/api/v1/catalog")

        assert problem_of(response) == (405, "method_not_allowed")
        assert response["Allow"] == "GET, HEAD"

    @pytest.mark.parametrize("path", ["/api/x", "/page"])
    def test_djangos_own_errors_are_problems_for_the_api_alone(self, path):
        request = RequestFactory().get(path)
        answers = [
            bad_request(request, DisallowedHost()),
            permission_denied(request, PermissionDenied()),
            not_found(request),
            server_error(request),
        ]

        problems = [answer["Content-Type"] == "application/problem+json" for answer in answers]
        assert problems == [path.startswith("/api/")] * 4
        assert [answer.status_code for answer in answers] == [400, 403, 404, 500]

    def test_a_lost_database_before_the_view_is_a_503(self):
        try:
            raise OperationalError("gone")
        except OperationalError:
            answer = server_error(RequestFactory().get("/api/x"))

        assert (answer.status_code, answer["Retry-After"]) == (503, "5")


@pytest.mark.django_db
class TestABody:
    CHECK = "/api/v1/entitlements/check"

    @pytest.fixture
    def product(self):
        return program("entitlements:read")

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b" ",
            b"hello",
            b"{",
            b"[]",
            b"null",
            b"7",
            b"\xff\xfe{}",
            b"\xef\xbb\xbf{}",
            b'{"a": NaN}',
            b'{"a": -Infinity}',
            b'{"a": 1, "a": 2}',
            b'{"b": {"a": 1, "a": 2}}',
            b'{"a": ' + b"9" * 5000 + b"}",
            b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
            b'{"a": "\x00"}',
        ],
    )
    def test_that_is_no_json_object_is_malformed(self, product, body):
        assert problem_of(product.post(self.CHECK, body)) == (400, "malformed")

    @pytest.mark.parametrize("type_", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
    def test_of_another_type_is_refused(self, product, type_):
        refused = product.client.post(self.CHECK, b"{}", content_type=type_, headers=product.credentials)

        assert problem_of(refused) == (415, "unsupported_media_type")

    @pytest.mark.parametrize("type_", ["application/json", "application/json; charset=utf-8", "Application/JSON"])
    def test_of_json_is_taken_however_its_type_is_spelled(self, product, type_):
        answer = product.client.post(self.CHECK, b"{}", content_type=type_, headers=product.credentials)

        assert problem_of(answer) == (422, "invalid")

    def test_of_more_than_a_megabyte_is_too_large(self, product):
        body = json.dumps({"entitlement": "gold", "user_ids": ["x" * 1024 * 1024]})

        assert problem_of(product.post(self.CHECK, body)) == (413, "too_large")

    @pytest.mark.parametrize("accept", ["text/html", "application/xml", "image/*", "nonsense"])
    def test_is_answered_in_json_whatever_is_accepted(self, product, accept):
        answer = product.post(self.CHECK, {"entitlement": "gold", "user_ids": []}, Accept=accept)

        assert (answer.status_code, answer["Content-Type"]) == (200, "application/json")

    def test_is_never_kept_on_the_way(self, product, nobody):
        assert product.post(self.CHECK, b"{}")["Cache-Control"] == "no-store"


@pytest.mark.django_db(transaction=True)
class TestALostDatabase:
    def test_is_a_503_that_says_when_to_come_back(self, nobody, monkeypatch):
        def refuse(*_):
            raise psycopg.OperationalError("connection refused")

        connection.close()
        monkeypatch.setattr(connection, "get_new_connection", refuse)

        assert problem_of(nobody.get("/api/v1/catalog")) == (503, "unavailable")


def test_a_post_to_nowhere_is_not_found_also_where_forms_need_a_token():
    answer = Client(enforce_csrf_checks=True).post("/api/v1/nowhere", "{}", content_type="application/json")

    assert problem_of(answer) == (404, "not_found")
