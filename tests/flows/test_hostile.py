"""T46: whatever is thrown at the real server gets the right answer, and the next good payment is recorded."""

import gzip
import hashlib
import json
import socket
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

import pytest
from django.conf import settings

from telegram_bot.webhook import LARGEST_BODY, PATH, SECRET_HEADER
from tests import updates

pytestmark = pytest.mark.xdist_group("house")

SECRET = settings.TELEGRAM_WEBHOOK_SECRETS[0].encode()
PATIENCE = 60  # seconds


@dataclass(frozen=True)
class Answer:
    status: int
    headers: bytes
    body: bytes


@dataclass(frozen=True)
class Quoted:
    """An invoice as `tests.updates` wants it, for one person."""

    payload: str
    customer: "Quoted.Customer"
    amount: int = 500
    currency: str = "XTR"

    @dataclass(frozen=True)
    class Customer:
        telegram_user_id: int


@pytest.fixture
def quoted(house):
    """Makes an invoice for somebody new."""

    def quote() -> Quoted:
        person = house.telegram.person("Alice")
        link = (
            house.sign_in(person)
            .post("/api/v1/telegram/payment/send-invoice", json={"plan_code": "gold_1m", "delivery": "link"})
            .json()["invoice_link"]
        )
        return Quoted(person.opens(link).payload, Quoted.Customer(person.id))

    return quote


@pytest.fixture
def then_a_good_payment_works(house, quoted):
    yield
    payment = updates.payment(invoice := quoted(), charge_id=f"stxGood{invoice.customer.telegram_user_id}")
    answer = post(house, updates.body(payment))
    assert (answer.status, answer.body) == (200, b"")
    assert outcome_of(house, payment) == "processed"


def exchange(house, request: bytes) -> Answer:
    """Send bytes and read one whole answer. Who answers early need not read the rest."""
    address = urlsplit(house.url)
    with socket.create_connection((address.hostname, address.port), timeout=PATIENCE) as wire:
        with suppress(OSError):  # it has answered and hung up
            wire.sendall(request)
        received = b""
        while b"\r\n\r\n" not in received and (chunk := wire.recv(65536)):
            received += chunk
        head, _, body = received.partition(b"\r\n\r\n")
        lines = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
        while len(body) < int(lines.get(b"content-length", 0)) and (chunk := wire.recv(65536)):
            body += chunk
    return Answer(int(head.split()[1]), head, body)


def request(
    body: bytes = b"", *, method: str = "POST", path: str = PATH, secret: bytes | None = SECRET, **headers: str
) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: shop.example"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in ({"Content_Length": len(body)} | headers).items()]
    told = "\r\n".join(lines).encode()
    if secret is not None:
        told += b"\r\n" + SECRET_HEADER.encode() + b": " + secret
    return told + b"\r\n\r\n" + body


def post(house, body: bytes, **headers: str) -> Answer:
    return exchange(house, request(body, Content_Type="application/json", **headers))


def stored(house, body: bytes) -> list[str]:
    """What became of each row of the inbox with these bytes."""
    digest = hashlib.sha256(body).digest()
    return [
        status for (status,) in house.rows("SELECT status FROM telegram_bot_incomingupdate WHERE digest = %s", digest)
    ]


def outcome_of(house, update: dict) -> str | None:
    """`processed`, the reason why it is held, or None when nothing is recorded."""
    charge = update["message"]["successful_payment"]["telegram_payment_charge_id"]
    rows = house.rows(
        "SELECT coalesce(reason, event.status) FROM payments_paymentevent AS event"
        " LEFT JOIN payments_hold AS hold ON hold.event_id = event.id"
        " WHERE event.event_id = %s AND event_type LIKE '%%successful_payment'",
        charge,
    )
    return rows[0][0] if rows else None


@pytest.mark.usefixtures("then_a_good_payment_works")
class TestStrangers:
    @pytest.mark.parametrize(
        "secret",
        [None, b"", b"wrong", SECRET + b"x", SECRET + b" x", SECRET * 250, b"s\xc3\xa9cret", b"\xff\xfe"],
        ids=["none", "empty", "wrong", "longer", "with a space", "10 KB", "accents", "no text"],
    )
    def test_are_turned_away_and_leave_nothing(self, house, quoted, secret):
        body = updates.body(updates.payment(quoted(), charge_id="stxStranger"))

        answer = exchange(house, request(body, secret=secret))

        assert (answer.status, answer.body[:1]) == (401, b"{")
        assert stored(house, body) == []

    def test_are_not_known_by_a_secret_in_address_or_body(self, house):
        body = json.dumps({"update_id": 1, "secret": SECRET.decode()}).encode()

        answer = exchange(house, request(body, secret=None, path=f"{PATH}?{SECRET_HEADER}={SECRET.decode()}"))

        assert (answer.status, stored(house, body)) == (401, [])


@pytest.mark.usefixtures("then_a_good_payment_works")
class TestTheAddress:
    @pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
    def test_takes_nothing_but_post(self, house, method):
        assert exchange(house, request(method=method)).status == 405

    @pytest.mark.parametrize("path", [f"{PATH}/", f"/{PATH}", f"{PATH}//", "/api/v1/telegram/./webhook/"])
    def test_is_one_and_never_redirects(self, house, path):
        assert exchange(house, request(b"{}", path=path)).status == 404

    @pytest.mark.parametrize("length", [LARGEST_BODY + 1, 10**9])
    def test_refuses_large_bodies_by_what_they_announce(self, house, length):
        assert exchange(house, request(b"{", Content_Length=str(length))).status == 413

    def test_refuses_large_bodies_that_are_not_announced(self, house):
        chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
        head = request().replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")

        assert exchange(house, head + chunk * 17 + b"0\r\n\r\n").status == 413


@pytest.mark.usefixtures("then_a_good_payment_works")
class TestWhatCannotBeUnderstood:
    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"hello",
            b"{",
            b"{}",
            b'{"message": {}}',
            b'{"update_id": 1, "update_id": 2}',
            b'{"update_id": 1, "n": ' + b"9" * 5_000 + b"}",
            b'{"update_id": 1, "n": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
            gzip.compress(b"{" + b" " * 50_000_000 + b"}"),
            b"\xff\xfe\x00",
        ],
        ids=["empty", "word", "torn", "hollow", "no id", "twice", "digits", "deep", "gzip bomb", "no text"],
    )
    @pytest.mark.parametrize(
        "headers", [{}, {"Content_Encoding": "gzip", "Content_Type": "text/plain"}], ids=["", "gzip"]
    )
    def test_is_kept_once_as_it_came(self, house, body, headers):
        for _ in range(2):
            answer = exchange(house, request(body, **headers))

            assert (answer.status, answer.body) == (200, b"")
        assert stored(house, body) == ["quarantined"]

    @pytest.mark.parametrize(
        "more", [{"brand_new": {"deep": [1]}}, {"poll": {"id": "1"}}], ids=["new", "of no concern"]
    )
    def test_is_not_what_simply_does_not_concern_us(self, house, more):
        body = updates.body({"update_id": 77, **more})

        assert post(house, body).status == 200
        assert stored(house, body) == ["done"]


@pytest.mark.usefixtures("then_a_good_payment_works")
class TestAPayment:
    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"total_amount": 1}, "amount_mismatch"),
            ({"currency": "USD"}, "method_mismatch"),
            ({"invoice_payload": "never ours"}, "unknown_payload"),
            ({"invoice_payload": "nul \0 and a lone surrogate \ud800"}, "unknown_payload"),
        ],
        ids=["amount", "currency", "payload", "surrogate"],
    )
    def test_that_differs_is_recorded_and_held(self, house, quoted, changes, reason):
        payment = updates.payment(
            invoice := quoted(), charge_id=f"stxOdd{quoted().customer.telegram_user_id}", **changes
        )

        assert post(house, updates.body(payment)).status == 200
        assert outcome_of(house, payment) == reason
        assert not has_access(house, invoice)

    @pytest.mark.parametrize(
        "changes",
        [
            *({"total_amount": amount} for amount in ("100", 99.9, True, None, -100, 0, 2**63)),
            {"currency": "xtr"},
            {"charge_id": ""},
            {"charge_id": "x" * 10_000},
        ],
        ids=str,
    )
    def test_that_cannot_be_read_is_held_as_bytes(self, house, quoted, changes):
        body = updates.body(updates.payment(invoice := quoted(), **changes))

        assert post(house, body).status == 200
        assert house.rows("SELECT reason FROM payments_hold WHERE evidence = %s", body) == [("unreadable",)]
        assert not has_access(house, invoice)

    def test_whose_charge_has_a_space_behind_it_is_another_one(self, house, quoted):
        first, second = quoted(), quoted()
        charge = f"stxSpace{first.customer.telegram_user_id}"

        for invoice, charge_id in ((first, charge), (second, f"{charge} ")):
            payment = updates.payment(invoice, charge_id=charge_id)
            assert post(house, updates.body(payment)).status == 200
            assert outcome_of(house, payment) == "processed"

    def test_by_somebody_with_a_hostile_name_is_recorded(self, house, quoted):
        payment = updates.payment(invoice := quoted(), charge_id=f"stxName{quoted().customer.telegram_user_id}")
        payment["message"]["from"]["first_name"] = "\u202e<script>\x1b[31m=HYPERLINK(\n\0\ud800"
        body = updates.body(payment).replace(b'"private"', b'"private\xff"')

        assert post(house, body).status == 200
        assert outcome_of(house, payment) == "processed"
        assert has_access(house, invoice)

    def test_by_another_than_the_payer_of_a_known_charge_changes_nothing(self, house, quoted):
        mine, others = quoted(), quoted()
        charge = f"stxTaken{mine.customer.telegram_user_id}"
        post(house, updates.body(updates.payment(mine, charge_id=charge)))

        answer = post(house, updates.body(updates.payment(others, charge_id=charge)))

        assert (answer.status, answer.body) == (200, b"")
        assert (has_access(house, mine), has_access(house, others)) == (True, False)

    def test_never_has_its_own_words_in_the_answer(self, house, quoted):
        update = updates.payment(quoted(), charge_id="stxEcho")
        update["method"] = update["message"]["method"] = "refundStarPayment"

        assert post(house, updates.body(update)).body == b""


@pytest.mark.usefixtures("then_a_good_payment_works")
class TestAPreCheckout:
    @pytest.mark.parametrize(
        "changes",
        [
            {"total_amount": 1},
            {"total_amount": "500"},
            {"currency": "xtr"},
            {"currency": "USD"},
            {"invoice_payload": "never ours"},
            {"payer": 4_242},
        ],
        ids=str,
    )
    def test_that_differs_is_refused_in_a_sentence(self, house, quoted, changes):
        update = updates.pre_checkout(quoted(), query_id="hostile", **changes)

        answer = post(house, updates.body(update))

        told = json.loads(answer.body)
        assert told.keys() == {"method", "pre_checkout_query_id", "ok", "error_message"}
        assert (told["method"], told["ok"]) == ("answerPreCheckoutQuery", False)

    def test_with_a_forged_payload_is_refused(self, house, quoted):
        payload = quoted().payload
        forged = payload[:-1] + ("A" if payload[-1] != "A" else "B")

        answer = post(house, updates.body(updates.pre_checkout(quoted(), invoice_payload=forged)))

        assert json.loads(answer.body)["ok"] is False


def has_access(house, invoice: Quoted) -> bool:
    return bool(
        house.rows(
            "SELECT FROM entitlements_entitlement JOIN entitlements_customer AS customer ON customer.id = customer_id"
            " WHERE telegram_user_id = %s",
            invoice.customer.telegram_user_id,
        )
    )
