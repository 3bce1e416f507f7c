"""Who a token lets in: 4.7, 4.8, and every forgery we could think of."""

import base64
import json
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import jwt
import pytest
import time_machine
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from django.conf import settings as configured
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from config.api import tokens
from tests.api.conftest import Caller, buyer, claims_of, problem_of, signed
from tests.factories import CustomerFactory

pytestmark = pytest.mark.django_db

ME = "/api/v1/me/entitlements"


def bearing(token: str):
    return Caller(f"Bearer {token}").get(ME)


def segment(value: dict) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


class TestOurOwnToken:
    def test_lets_its_customer_in(self, alice):
        token = tokens.issue(user_id=alice.user_id, telegram_user_id=alice.telegram_user_id)

        assert bearing(token).json()["user_id"] == alice.user_id

    def test_is_good_for_a_quarter_of_an_hour_and_half_a_minute_of_leeway(self, alice):
        now = datetime.now(UTC)
        with time_machine.travel(now, tick=False):
            token = tokens.issue(user_id=alice.user_id, telegram_user_id=alice.telegram_user_id)
        with time_machine.travel(now.timestamp() + 15 * 60 + 29, tick=False):
            assert bearing(token).status_code == 200
        with time_machine.travel(now.timestamp() + 15 * 60 + 31, tick=False):
            assert problem_of(bearing(token)) == (401, "invalid_token")

    def test_may_come_from_a_host_that_shares_the_key_and_names_none(self, nobody):
        assert bearing(signed(claims_of(sub="carol"))).json()["user_id"] == "carol"

    def test_names_our_key(self, alice):
        token = tokens.issue(user_id=alice.user_id, telegram_user_id=None)

        kid = jwt.get_unverified_header(token)["kid"]
        assert kid == tokens.key_id(configured.JWT_SIGNING_KEY)
        assert kid not in configured.JWT_SIGNING_KEY


class TestWhileTheKeyIsRotated:
    OLD = "the old key, of more than thirty-two bytes " * 2

    @pytest.fixture
    def rotated(self, settings):
        settings.JWT_SIGNING_KEY_FALLBACKS = [self.OLD]

    @pytest.mark.usefixtures("rotated")
    def test_tokens_of_the_old_key_let_in_until_it_is_taken_away(self, alice, settings):
        named, unnamed = (
            signed(claims_of(alice), key=self.OLD, kid=tokens.key_id(self.OLD)),
            signed(claims_of(alice), key=self.OLD),
        )
        assert [bearing(named).status_code, bearing(unnamed).status_code] == [200, 200]

        settings.JWT_SIGNING_KEY_FALLBACKS = []

        assert [bearing(named).status_code, bearing(unnamed).status_code] == [401, 401]

    @pytest.mark.usefixtures("rotated")
    def test_new_tokens_are_signed_with_the_new_key(self, alice):
        token = tokens.issue(user_id=alice.user_id, telegram_user_id=None)

        assert jwt.get_unverified_header(token)["kid"] == tokens.key_id(configured.JWT_SIGNING_KEY)

    @pytest.mark.usefixtures("rotated")
    @pytest.mark.parametrize(
        "forgery",
        [
            {"key": "another key of more than thirty-two bytes"},
            {"key": OLD, "kid": "foreign"},
            {"key": OLD, "algorithm": "HS512"},
        ],
    )
    def test_forgeries_are_none_the_better(self, alice, forgery):
        assert problem_of(bearing(signed(claims_of(alice), **forgery))) == (401, "invalid_token")

    @pytest.mark.usefixtures("rotated")
    def test_the_old_key_does_not_prolong_a_token(self, alice):
        now = int(time.time())
        expired = signed(claims_of(alice, iat=now - 100, exp=now - 31), key=self.OLD)

        assert problem_of(bearing(expired)) == (401, "invalid_token")


class TestNoToken:
    def test_is_asked_for(self, nobody):
        """4.7"""
        refused = nobody.get(ME)

        assert problem_of(refused) == (401, "not_authenticated")
        assert refused["WWW-Authenticate"] == 'Bearer realm="starledger"'

    @pytest.mark.parametrize("authorization", ["Basic YTpi", "Api-Key abc", "Token abc", "bearer"])
    def test_is_what_other_schemes_are(self, authorization):
        assert Caller(authorization).get(ME).status_code == 401


class TestAForgedToken:
    """4.8"""

    def assert_refused(self, token: str):
        refused = bearing(token)
        assert problem_of(refused) == (401, "invalid_token")
        assert refused["WWW-Authenticate"] == 'Bearer realm="starledger", error="invalid_token"'

    @pytest.mark.parametrize(
        "token", ["", "x", "a.b.c", "....", "é.é.é", "e30.e30.", "x" * 9000, ".".join(["eyJhbGciOiJIUzI1NiJ9"] * 3)]
    )
    def test_that_is_none_at_all(self, token):
        self.assert_refused(token)

    def test_without_a_signature(self, alice):
        self.assert_refused(f"{segment({'alg': 'none', 'typ': 'JWT'})}.{segment(claims_of(alice))}.")

    def test_signed_with_another_key(self, alice):
        self.assert_refused(signed(claims_of(alice), key="another key of more than thirty-two bytes"))

    def test_changed_after_signing(self, alice, bob):
        header, _, signature = signed(claims_of(alice)).split(".")
        self.assert_refused(f"{header}.{segment(claims_of(bob))}.{signature}")

    def test_by_an_algorithm_that_is_not_on_the_list(self, alice):
        self.assert_refused(signed(claims_of(alice), key=configured.JWT_SIGNING_KEY * 2, algorithm="HS512"))

    def test_that_names_another_key(self, alice):
        self.assert_refused(signed(claims_of(alice), kid="foreign"))

    @pytest.mark.parametrize("claim", ["exp", "iat", "sub", "aud", "iss"])
    def test_without_a_claim_that_must_be_there(self, claim):
        self.assert_refused(signed(claims_of(**{claim: None})))

    @pytest.mark.parametrize(
        "changed",
        [
            {"aud": "another"},
            {"aud": ["another"]},
            {"iss": "another"},
            {"sub": 5},
            {"sub": ""},
            {"sub": "x" * 256},
            {"sub": "a\x00b"},
            {"sub": "a\ud800"},
            {"telegram_user_id": "7"},
            {"telegram_user_id": True},
            {"telegram_user_id": 7.0},
            {"telegram_user_id": 0},
            {"telegram_user_id": 2**52},
            {"exp": "soon"},
            {"exp": 1e400},
            {"iat": float("nan")},
        ],
    )
    def test_with_a_claim_that_is_wrong(self, changed):
        self.assert_refused(signed(claims_of(**changed)))

    def test_that_has_expired(self):
        now = int(time.time())
        self.assert_refused(signed(claims_of(iat=now - 100, exp=now - 31)))

    def test_that_is_not_valid_yet(self):
        now = int(time.time())
        self.assert_refused(signed(claims_of(iat=now + 60, exp=now + 120)))
        self.assert_refused(signed(claims_of(nbf=now + 60)))

    def test_that_is_valid_for_more_than_a_day(self):
        now = int(time.time())
        self.assert_refused(signed(claims_of(iat=now, exp=now + 24 * 3600 + 1)))
        assert bearing(signed(claims_of(iat=now, exp=now + 24 * 3600))).status_code == 200

    def test_nested_beyond_the_stack(self):
        deep = base64.urlsafe_b64encode(b'{"alg":' + b"[" * 5000).rstrip(b"=").decode()
        self.assert_refused(f"{deep}.e30.e30")

    def test_whose_ids_are_of_two_customers(self, alice, bob):
        self.assert_refused(signed(claims_of(alice, telegram_user_id=bob.telegram_user_id)))

    def test_that_guesses_a_user_id_of_ours(self, alice):
        self.assert_refused(signed(claims_of(sub=alice.user_id)))


class TestABlockedCustomer:
    def test_is_not_let_in(self):
        blocked = CustomerFactory(blocked_at=datetime.now(UTC))

        assert problem_of(buyer(blocked).get(ME)) == (403, "customer_blocked")
        assert problem_of(buyer(blocked).get("/api/v1/me/payments")) == (403, "customer_blocked")


class Issuer:
    """Another issuer of tokens, with its public keys at an address."""

    def __init__(self) -> None:
        self.private = {
            "rsa": rsa.generate_private_key(public_exponent=65537, key_size=2048),
            "ec": ec.generate_private_key(ec.SECP256R1()),
            "ed": ed25519.Ed25519PrivateKey.generate(),
        }
        make = {"rsa": RSAAlgorithm, "ec": ECAlgorithm, "ed": OKPAlgorithm}
        self.published = [
            json.loads(make[kid].to_jwk(private.public_key())) | {"kid": kid, "use": "sig"}
            for kid, private in self.private.items()
        ]
        self.asked = 0
        self.answers = True
        self.drips = False
        self.pause = 0.0  # seconds, before it answers
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.asked += 1
                time.sleep(issuer.pause)
                body = json.dumps({"keys": issuer.published}).encode() if issuer.answers else b"<html>"
                self.send_response(200 if issuer.answers else 502)
                self.send_header("Content-Length", str(len(body)))
                with suppress(ConnectionError):  # whoever asked has hung up
                    if issuer.drips:
                        self.drip()
                    self.end_headers()
                    self.wfile.write(body)

            def drip(self) -> None:
                """Say a little at a time, for longer than anybody should listen."""
                self.flush_headers()
                for letter in f"X-Slow: {'x' * 100}\r\n".encode():
                    self.wfile.write(bytes([letter]))
                    time.sleep(0.1)

            def log_message(self, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/jwks.json"
        self.thread = Thread(target=self.server.serve_forever, args=(0.02,))
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    def token(self, kid: str = "rsa", algorithm: str = "RS256", **claims) -> str:
        said = claims_of(**{"iss": "https://host.example", "sub": "alice"} | claims)
        return jwt.encode(said, self.private[kid], algorithm=algorithm, headers={"kid": kid})


@pytest.fixture(scope="module")
def keys_of_the_host():
    issuer = Issuer()
    yield issuer
    issuer.close()


@pytest.fixture
def host(keys_of_the_host, settings):
    tokens.key_set.cache_clear()
    keys_of_the_host.asked, keys_of_the_host.answers = 0, True
    keys_of_the_host.drips, keys_of_the_host.pause = False, 0.0
    settings.JWT_JWKS_URL, settings.JWT_JWKS_ISSUER = keys_of_the_host.url, "https://host.example"
    published = list(keys_of_the_host.published)
    yield keys_of_the_host
    keys_of_the_host.published = published


class TestATokenOfAnotherIssuer:
    @pytest.mark.parametrize(("kid", "algorithm"), [("rsa", "RS256"), ("ec", "ES256"), ("ed", "EdDSA")])
    def test_is_checked_by_its_public_key(self, host, kid, algorithm):
        assert bearing(host.token(kid, algorithm)).json()["user_id"] == "alice"

    def test_is_checked_without_asking_for_the_keys_each_time(self, host):
        for _ in range(3):
            assert bearing(host.token()).status_code == 200
        assert host.asked == 1

    def test_leaves_our_own_tokens_good(self, host, alice):
        assert buyer(alice).get(ME).status_code == 200

    def test_is_refused_when_its_issuer_is_another(self, host):
        assert problem_of(bearing(host.token(iss="starledger"))) == (401, "invalid_token")
        assert problem_of(bearing(host.token(iss="https://evil.example"))) == (401, "invalid_token")

    def test_is_refused_by_an_algorithm_that_is_not_on_the_list(self, host):
        assert problem_of(bearing(host.token(algorithm="RS512"))) == (401, "invalid_token")
        assert problem_of(bearing(host.token(algorithm="PS256"))) == (401, "invalid_token")

    def test_is_refused_when_the_algorithm_is_not_the_keys(self, host):
        claims = claims_of(iss="https://host.example")
        token = jwt.encode(claims, host.private["ec"], algorithm="ES256", headers={"kid": "rsa"})
        assert problem_of(bearing(token)) == (401, "invalid_token")

    @pytest.mark.parametrize("issuer", ["starledger", "https://host.example"])
    def test_is_refused_when_the_public_key_serves_as_a_shared_secret(self, host, issuer):
        public = host.private["rsa"].public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        header, payload = segment({"alg": "HS256", "kid": "rsa"}), segment(claims_of(iss=issuer, sub="alice"))
        hs256 = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256)
        signature = hs256.sign(f"{header}.{payload}".encode(), public)
        forged = f"{header}.{payload}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"

        assert problem_of(bearing(forged)) == (401, "invalid_token")

    def test_is_refused_by_a_shared_secret_even_if_the_key_set_holds_it(self, host):
        secret = base64.urlsafe_b64encode(b"x" * 32).rstrip(b"=").decode()
        host.published = [*host.published, {"kty": "oct", "k": secret, "kid": "shared"}]
        token = jwt.encode(claims_of(iss="https://host.example"), b"x" * 32, headers={"kid": "shared"})

        assert problem_of(bearing(token)) == (401, "invalid_token")

    def test_of_a_new_key_is_good_a_minute_after_the_last_look(self, host):
        newest, host.published = host.published[-1], host.published[:-1]
        bearing(host.token())
        host.published = [*host.published, newest]

        assert problem_of(bearing(host.token("ed", "EdDSA"))) == (401, "invalid_token")
        tokens.key_set(host.url)._tried_at -= 61
        assert bearing(host.token("ed", "EdDSA")).status_code == 200

    def test_of_an_unknown_key_makes_us_look_once_a_minute_at_most(self, host):
        for number in range(5):
            forged = jwt.encode(claims_of(), host.private["rsa"], algorithm="RS256", headers={"kid": f"k{number}"})
            assert problem_of(bearing(forged)) == (401, "invalid_token")
        assert host.asked == 1

    def test_cannot_be_judged_before_the_keys_were_ever_seen(self, host):
        host.answers = False

        assert problem_of(bearing(host.token())) == (503, "unavailable")

    def test_waits_no_longer_for_an_issuer_that_says_a_little_at_a_time(self, host, monkeypatch):
        monkeypatch.setattr(tokens.KeySet, "TIME_LIMIT", 0.5)
        host.drips = True

        assert problem_of(bearing(host.token())) == (503, "unavailable")
        assert tokens.key_set(host.url)._lock.acquire(blocking=False)  # the next fetch is not hindered

    def test_is_good_for_all_who_come_while_the_keys_are_fetched(self, host, monkeypatch):
        monkeypatch.setattr(tokens.KeySet, "TIME_LIMIT", 60)
        host.pause = 0.5
        keys = tokens.key_set(host.url)

        with ThreadPoolExecutor(8) as threads:
            found = list(threads.map(keys.key, ["rsa"] * 8))

        assert {key.key_id for key in found} == {"rsa"}
        assert host.asked == 1

    def test_waits_no_longer_for_somebody_else_who_fetches_the_keys(self, host):
        keys = tokens.key_set(host.url)

        with ThreadPoolExecutor(1) as threads, keys._lock:
            asked = threads.submit(keys.key, "rsa")
            with pytest.raises(tokens.KeysUnavailable):
                asked.result(timeout=60)

    def test_stays_good_while_its_issuer_is_out_of_reach(self, host):
        bearing(host.token())
        host.answers = False
        keys = tokens.key_set(host.url)
        keys._tried_at -= 7200
        keys._fetched_at -= 7200

        assert bearing(host.token()).status_code == 200
        assert host.asked == 2
