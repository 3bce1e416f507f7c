"""T51: a setting that can hurt keeps production from starting, and the process says what to set."""

import os
import subprocess
import sys

import pytest
from django.core.checks import Tags
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError
from django.db import connection

from config.checks import DURABLE, faults, goes_in_the_clear
from config.env import BASE_DIR
from config.management.starting import require_production_settings
from tests.ports import free_port
from tests.postgres_urls import test_database_url
from tests.production import ENVIRONMENT, production_settings, put_into

LOCAL_TELEGRAMS = "100000001:local-telegram-takes-any-token-of-this-form"


def ids(tag: str = Tags.security) -> set[str]:
    return {fault.id for fault in faults(tag)}


class TestAnEnvironment:
    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("SECRET_KEY", ""),
            ("DATABASE_URL", ""),
            ("PUBLIC_URL", ""),
            ("PUBLIC_URL", "http://shop.example"),
            ("TELEGRAM_BOT_TOKEN", "the-bot-token"),
            ("JWT_SIGNING_KEY", ""),
            ("JWT_SIGNING_KEY", "short"),
            ("JWT_SIGNING_KEY_FALLBACKS", f"{'long enough' * 3},short"),
            ("OPEN_CALLS_PER_MINUTE", "0"),
            ("SUBSCRIPTION_GRACE_HOURS", "-1"),
            ("SUBSCRIPTION_REMINDER_DAYS", "15"),
            ("PROMETHEUS_MULTIPROC_DIR", "/nowhere/to/be/found"),
            ("TELEGRAM_IP_ALLOWLIST", "telegram.org"),
            ("TELEGRAM_IP_ALLOWLIST", "149.154.160.1/20"),
            ("JWT_ALGORITHMS", "RS256"),
            ("JWT_ALGORITHMS", "HS256,none"),
            ("JWT_JWKS_URL", "https://host.example/jwks.json"),
            ("JWT_JWKS_ISSUER", "https://host.example"),
        ],
    )
    def test_of_which_no_settings_can_be_made_is_refused_by_every_command(self, name, value):
        with pytest.raises(ImproperlyConfigured, match=name):
            production_settings(**{name: value})

    def test_whose_public_keys_lie_in_a_file_is_refused_by_every_command(self):
        with pytest.raises(ImproperlyConfigured, match="JWT_JWKS_URL"):
            production_settings(JWT_JWKS_URL="file:///etc/passwd", JWT_JWKS_ISSUER="https://host.example")

    def test_of_a_production_has_no_fault(self, settings):
        put_into(settings)

        assert faults(Tags.security) == []

    @pytest.mark.parametrize(
        ("environment", "expected"),
        [
            ({"TELEGRAM_WEBHOOK_SECRET": ""}, "starledger.E001"),
            ({"TELEGRAM_WEBHOOK_SECRET": "x" * 31}, "starledger.E001"),
            ({"TELEGRAM_WEBHOOK_SECRET": "x" * 257}, "starledger.E001"),
            ({"TELEGRAM_WEBHOOK_SECRET": "x" * 32 + " "}, "starledger.E001"),
            ({"TELEGRAM_WEBHOOK_SECRET": "é" * 32}, "starledger.E001"),
            ({"TELEGRAM_WEBHOOK_SECRET": ",".join(each * 32 for each in "xyz")}, "starledger.E001"),
            ({"TELEGRAM_BOT_TOKEN": ""}, "starledger.E002"),
            ({"TELEGRAM_BOT_TOKEN": LOCAL_TELEGRAMS}, "starledger.E002"),
            ({"TELEGRAM_API_BASE_URL": "http://bots.example"}, "starledger.E003"),
            ({"TELEGRAM_WEBHOOK_URL": "http://shop.example/api/v1/telegram/webhook"}, "starledger.E003"),
            ({"JWT_SIGNING_KEY": ENVIRONMENT["SECRET_KEY"]}, "starledger.E005"),
            ({"METRICS_TOKEN": ENVIRONMENT["TELEGRAM_WEBHOOK_SECRET"]}, "starledger.E005"),
            ({"JWT_SIGNING_KEY_FALLBACKS": ENVIRONMENT["SECRET_KEY"]}, "starledger.E005"),
            ({"SECRET_KEY_FALLBACKS": ENVIRONMENT["JWT_SIGNING_KEY"]}, "starledger.E005"),
            ({"JWT_SIGNING_KEY": "x" * 64}, "starledger.E014"),
            ({"JWT_SIGNING_KEY_FALLBACKS": f"{'a key of before' * 3},{'xy' * 32}"}, "starledger.E014"),
            ({"TELEGRAM_WEBHOOK_SECRET": "x" * 64}, "starledger.E001"),
            ({"METRICS_TOKEN": "x" * 64}, "starledger.E008"),
            ({"TRUSTED_PROXIES": "0.0.0.0/0"}, "starledger.E015"),
            ({"TRUSTED_PROXIES": "127.0.0.1,::/0"}, "starledger.E015"),
            ({"TRUSTED_PROXIES": "unix,0.0.0.0/1"}, "starledger.E015"),
            ({"TELEGRAM_WEBHOOK_URL": "https://shop.example/"}, "starledger.E016"),
            ({"TELEGRAM_WEBHOOK_URL": "https://shop.example/api/v1/telegram/webhook/"}, "starledger.E016"),
            ({"TELEGRAM_IP_ALLOWLIST": "149.154.160.0/20"}, "starledger.E017"),
            (
                {"JWT_JWKS_URL": "http://host.example/jwks.json", "JWT_JWKS_ISSUER": "https://host.example"},
                "starledger.E006",
            ),
            ({"ALLOWED_HOSTS": "*"}, "starledger.E007"),
            ({"ALLOWED_HOSTS": "other.example"}, "starledger.E007"),
            ({"METRICS_TOKEN": "guess"}, "starledger.E008"),
            ({"REDIS_URL": "memory://"}, "starledger.E011"),
            ({"SECRET_KEY": "short"}, "security.W009"),
        ],
    )
    def test_that_can_hurt_is_a_fault(self, settings, environment, expected):
        put_into(settings, **environment)

        found = faults(Tags.security)

        assert [fault.id for fault in found] == [expected]
        assert next(iter(environment)) in found[0].msg

    def test_may_hold_two_secrets_during_a_rotation(self, settings):
        put_into(settings, TELEGRAM_WEBHOOK_SECRET=f"aZ09_-{'x' * 26},{'aZ09_-' * 42}")

        assert faults(Tags.security) == []

    @pytest.mark.parametrize(
        "environment",
        [
            {"JWT_SIGNING_KEY_FALLBACKS": ",".join([ENVIRONMENT["JWT_SIGNING_KEY"]] * 2)},
            {"HSTS_INCLUDE_SUBDOMAINS": "false"},
            {"TRUSTED_PROXIES": "10.0.0.0/8,2400:cb00::/32,unix", "TELEGRAM_IP_ALLOWLIST": "149.154.160.0/20"},
            {"TELEGRAM_WEBHOOK_URL": "https://proxy.example/starledger/api/v1/telegram/webhook"},
            {
                "TELEGRAM_WEBHOOK_URL": "http://10.0.0.7:8000/api/v1/telegram/webhook",  # of a Bot API server beside us
                "TELEGRAM_IP_ALLOWLIST": "10.0.0.9",
            },
        ],
    )
    def test_may_be_unusual(self, settings, environment):
        put_into(settings, **environment)

        assert faults(Tags.security) == []

    def test_is_none_for_a_public_address_while_errors_show_the_code(self, settings):
        put_into(settings, DEBUG="true")

        assert "security.W018" in ids()

    def test_of_development_is_held_to_nothing_on_this_machine_alone(self, settings):
        put_into(settings, DEBUG="true", PUBLIC_URL="http://localhost:8000", TELEGRAM_WEBHOOK_SECRET="")

        assert faults(Tags.security) == faults(Tags.database) == []

    @pytest.mark.parametrize(
        ("host", "is_reached_by_others"),
        [
            ("127.0.0.1", False),
            ("127.0.0.2", False),
            ("::1", False),
            ("localhost", False),
            ("0.0.0.0", True),  # noqa: S104 - a name of it, and nothing listens
            ("::", True),
            ("10.0.0.7", True),
            ("shop.example", True),
        ],
    )
    def test_of_development_is_held_to_everything_where_others_reach_it(self, settings, host, is_reached_by_others):
        put_into(settings, DEBUG="true", PUBLIC_URL="http://localhost:8000", TELEGRAM_WEBHOOK_SECRET="")

        assert ("starledger.E001" in {fault.id for fault in faults(Tags.security, host=host)}) == is_reached_by_others

    def test_may_silence_what_its_owner_knows_better(self):
        assert (
            "starledger.E013" in production_settings(SILENCED_SYSTEM_CHECKS="starledger.E013")["SILENCED_SYSTEM_CHECKS"]
        )


class TestASettingThatTheEnvironmentDoesNotName:
    @pytest.mark.parametrize(
        ("name", "value", "expected"),
        [
            ("SESSION_COOKIE_SECURE", False, "security.W012"),
            ("CSRF_COOKIE_SECURE", False, "security.W016"),
            ("SECURE_HSTS_SECONDS", 0, "security.W004"),
            ("SECURE_HSTS_INCLUDE_SUBDOMAINS", False, "security.W005"),
            ("SECURE_CONTENT_TYPE_NOSNIFF", False, "security.W006"),
            ("SECURE_REFERRER_POLICY", None, "security.W022"),
            ("X_FRAME_OPTIONS", "SAMEORIGIN", "security.W019"),
            ("STAFF_SECOND_FACTOR", False, "starledger.E010"),
            ("SESSION_ENGINE", "django.contrib.sessions.backends.cache", "starledger.E012"),
            ("CONTENT_SECURITY_POLICY", {}, "starledger.E009"),
        ],
    )
    def test_is_a_fault_when_it_can_hurt(self, settings, name, value, expected):
        put_into(settings)
        setattr(settings, name, value)

        assert ids() == {expected}

    @pytest.mark.parametrize(
        ("directive", "sources"),
        [
            ("default-src", ["'self'"]),
            ("frame-ancestors", ["'self'"]),
            ("script-src", ["'self'", "'unsafe-inline'"]),
            ("script-src", ["https:"]),
            ("style-src", ["*"]),
        ],
    )
    def test_is_a_fault_when_it_loosens_the_policy_of_pages(self, settings, directive, sources):
        put_into(settings)
        policy = settings.CONTENT_SECURITY_POLICY["DIRECTIVES"]
        settings.CONTENT_SECURITY_POLICY = {"DIRECTIVES": {**policy, directive: sources}}

        assert ids() == {"starledger.E009"}

    @pytest.mark.parametrize(
        ("middleware", "expected"),
        [
            ("config.csp.ScopedCSPMiddleware", "starledger.E009"),
            ("django.middleware.security.SecurityMiddleware", "security.W001"),
            ("django.middleware.clickjacking.XFrameOptionsMiddleware", "security.W002"),
            ("django.middleware.csrf.CsrfViewMiddleware", "security.W003"),
        ],
    )
    def test_is_a_fault_when_a_guard_is_missing(self, settings, middleware, expected):
        put_into(settings)
        settings.MIDDLEWARE = [each for each in settings.MIDDLEWARE if each != middleware]

        assert ids() == {expected}


@pytest.mark.parametrize(
    ("url", "read_by_strangers"),
    [
        ("http://shop.example/", True),
        ("http://149.154.167.220", True),
        ("http://127.0.0.1:8081", False),
        ("http://localhost:8081", False),
        ("http://10.0.0.7", False),
        ("http://bot-api:8081", False),  # as containers of one network call each other
        ("https://shop.example/", False),
        ("", False),
    ],
)
def test_plain_http_is_for_this_machine_and_its_network(url, read_by_strangers):
    assert goes_in_the_clear(url) == read_by_strangers


@pytest.mark.django_db(transaction=True)
class TestTheDatabase:
    @pytest.fixture(autouse=True)
    def production(self, settings):
        put_into(settings)
        yield
        with connection.cursor() as cursor:
            cursor.execute("RESET ALL")

    def test_is_a_fault_when_it_forgets_what_it_committed(self):
        told = {}
        for value in ("on", "off"):
            with connection.cursor() as cursor:
                cursor.execute(f"SET synchronous_commit = {value}")
            told[value] = " ".join(fault.msg for fault in faults(Tags.database))

        assert "synchronous_commit" not in told["on"]
        assert "synchronous_commit off" in told["off"].replace(", full_page_writes", "")
        assert {"fsync", "full_page_writes"} < set(DURABLE)

    def test_is_a_fault_when_it_isolates_in_another_way_than_our_locks_expect(self):
        with connection.cursor() as cursor:
            cursor.execute("SET default_transaction_isolation = 'repeatable read'")

        assert "starledger.E004" in ids(Tags.database)

    def test_is_asked_before_a_process_starts(self):
        with connection.cursor() as cursor:
            cursor.execute("SET default_transaction_isolation = 'serializable'")

        with pytest.raises(CommandError, match=r"Take default_transaction_isolation out .* \(starledger.E004\)"):
            require_production_settings()


@pytest.mark.django_db(transaction=True)
class TestAProcess:
    def run(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "manage.py", *words],
            cwd=BASE_DIR,
            env={**os.environ, **ENVIRONMENT, "DATABASE_URL": test_database_url(), **environment},
            capture_output=True,
            text=True,
            timeout=120,
        )

    @pytest.mark.parametrize(
        ("command", "name", "value", "told"),
        [
            ("serve", "TELEGRAM_WEBHOOK_SECRET", "", "Set TELEGRAM_WEBHOOK_SECRET to 32 to 256 random characters"),
            ("worker", "ALLOWED_HOSTS", "*", "Leave ALLOWED_HOSTS out, which means shop.example"),
            ("poll", "TELEGRAM_BOT_TOKEN", LOCAL_TELEGRAMS, "Set TELEGRAM_BOT_TOKEN to the token that @BotFather gave"),
        ],
    )
    def test_does_not_start_with_a_setting_that_can_hurt_and_says_what_to_set(self, command, name, value, told):
        words = ["serve", "--port", str(free_port())] if command == "serve" else [command]

        ended = self.run(*words, **{name: value})

        assert ended.returncode == 1
        [said] = [line for line in ended.stderr.splitlines() if not line.startswith("{")]
        assert said.startswith(f"CommandError: {name} ")
        assert told in said

    def test_of_development_does_not_listen_where_others_reach_it(self):
        words = ["serve", "--host", "0.0.0.0", "--port", str(free_port())]  # noqa: S104 - it is refused

        ended = self.run(*words, DEBUG="true", PUBLIC_URL="http://localhost:8000")

        assert ended.returncode == 1
        assert "CommandError: Others would reach a server of development at 0.0.0.0. Leave --host out" in ended.stderr

    def test_that_checks_the_deployment_finds_nothing_to_say(self):
        checked = self.run("check", "--deploy", "--database", "default", "--fail-level", "WARNING")

        assert checked.returncode == 0, checked.stderr
        assert checked.stdout.startswith("System check identified no issues")
