"""All settings, read from top to bottom. Every variable of the environment is named in README.md."""

import hashlib
import re
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured
from django.templatetags.static import static
from django.utils.translation import gettext_lazy as _

from config.env import BASE_DIR, amounts, env, networks, read_env_file, required
from config.navigation import NAVIGATION
from config.patience import CHECKOUT, PatientConnection, ReplicaConnection

read_env_file()

# --- What this process is -----------------------------------------------------------------------------------------

DEBUG = env.bool("DEBUG", default=False)
SECRET_KEY = required("SECRET_KEY", why="Set it to 50 or more random characters; all processes share it.")
SECRET_KEY_FALLBACKS = env.list("SECRET_KEY_FALLBACKS", default=[])  # still accepted, see docs/rotation.md
PUBLIC_URL = env.str("PUBLIC_URL", default="http://localhost:8000" if DEBUG else "").rstrip("/")
_public = urlsplit(PUBLIC_URL)
ALLOWED_HOSTS = env.list(
    "ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]"] if DEBUG else [_public.hostname or ""]
)
LOOPBACK = _public.hostname in {"localhost", "127.0.0.1", "::1"}
SECURE = _public.scheme == "https"
TRUSTED_PROXIES = networks("TRUSTED_PROXIES")  # whose word about the client's address counts

if not DEBUG and not _public.hostname:
    message = "PUBLIC_URL is not set. Set it to the address under which this installation is reached, like https://shop.example."
    raise ImproperlyConfigured(message)
if not SECURE and not LOOPBACK:
    message = f"PUBLIC_URL is {PUBLIC_URL}: plain http is for loopback addresses only. Use https."
    raise ImproperlyConfigured(message)

INSTALLED_APPS = [
    "unfold.apps.BasicAppConfig",
    "unfold.contrib.filters",
    "config.apps.StaffAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django.contrib.postgres",
    "rest_framework",
    "django_filters",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_otp",
    "django_otp.plugins.otp_totp",
    "pgtrigger",
    "procrastinate.contrib.django",
    "django_prometheus",
    "config.apps.ConfigConfig",
    "entitlements.apps.EntitlementsConfig",
    "payments.apps.PaymentsConfig",
    "telegram_bot.apps.TelegramBotConfig",
]

# Around Django's handler, so that nothing can come between a payment and its recording.
WSGI_MIDDLEWARE = ["config.patience.RequestsWithin", "config.turns.InTurn", "telegram_bot.middleware.WebhookFirst"]
MIDDLEWARE = [
    "config.requests.RequestLog",
    "config.bodies.BodyLimit",
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "config.csp.ScopedCSPMiddleware",
    "config.permissions_policy.PermissionsPolicy",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django_otp.middleware.OTPMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]

ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
APPEND_SLASH = False
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

# --- Database: PostgreSQL, and the limits of reliability that nest below Telegram's ten seconds --------------------

DB_PREPARE = env.bool("DB_PREPARE", default=True)
_database_url = required(
    "DATABASE_URL",
    why="Point it at a PostgreSQL of 14 or later: postgres://user:password@host:5432/name. "
    "Only development (DEBUG=true) starts a private server of its own.",
)


def _database(url: str, connection_class: type[PatientConnection]) -> dict[str, Any]:
    named = env.db_url_config(url)
    options = {
        "connect_timeout": 2,
        "application_name": "starledger",
        "server_side_binding": DB_PREPARE,
        "prepare_threshold": 2 if DB_PREPARE else None,
        "options": "-c lock_timeout=3s -c statement_timeout=5s -c idle_in_transaction_session_timeout=10s",
        "pool": {
            "min_size": 1,
            "max_size": env.int("DB_POOL_SIZE", default=16),
            "timeout": CHECKOUT,
            "reconnect_timeout": 3,  # then whoever needs a connection has one made, without ever longer pauses
            "connection_class": connection_class,
        },
    }
    return {
        **named,
        "ENGINE": "config.postgresql",
        "CONN_MAX_AGE": 0,
        "DISABLE_SERVER_SIDE_CURSORS": not DB_PREPARE,
        "OPTIONS": named.get("OPTIONS", {}) | options,
    }


DATABASES = {"default": _database(_database_url, PatientConnection)}
if _replica_url := env.str("REPLICA_DATABASE_URL", default=""):
    DATABASES["replica"] = _database(_replica_url, ReplicaConnection)
WORKER_DATABASE_URL = env.str("WORKER_DATABASE_URL", default="") or _database_url

# --- Telegram -----------------------------------------------------------------------------------------------------

_LOCAL_TELEGRAM_TOKEN = "100000001:local-telegram-takes-any-token-of-this-form"  # noqa: S105 - opens nothing
TELEGRAM_BOT_TOKEN = env.str("TELEGRAM_BOT_TOKEN", default=_LOCAL_TELEGRAM_TOKEN if DEBUG else "")
TELEGRAM_IS_LOCAL = TELEGRAM_BOT_TOKEN == _LOCAL_TELEGRAM_TOKEN
TELEGRAM_API_BASE_URL = env.str(
    "TELEGRAM_API_BASE_URL", default="http://127.0.0.1:8081" if TELEGRAM_IS_LOCAL else "https://api.telegram.org"
).rstrip("/")
if TELEGRAM_BOT_TOKEN and not re.fullmatch("[0-9]{1,18}:[A-Za-z0-9_-]+", TELEGRAM_BOT_TOKEN):
    message = "TELEGRAM_BOT_TOKEN is no token. Set it to what @BotFather gave you: digits, a colon, and the secret."
    raise ImproperlyConfigured(message)
TELEGRAM_BOT_ID = int(TELEGRAM_BOT_TOKEN.partition(":")[0] or 0)
TELEGRAM_WEBHOOK_URL = env.str("TELEGRAM_WEBHOOK_URL", default=f"{PUBLIC_URL}/api/v1/telegram/webhook")
TELEGRAM_WEBHOOK_SECRETS = env.list("TELEGRAM_WEBHOOK_SECRET", default=[])
TELEGRAM_PAYMENT_PROVIDER_TOKEN = env.str(
    "TELEGRAM_PAYMENT_PROVIDER_TOKEN", default="284685063:TEST:local" if TELEGRAM_IS_LOCAL else ""
)
TELEGRAM_PAYMENT_CURRENCY = env.str("TELEGRAM_PAYMENT_CURRENCY", default="GBP")
TELEGRAM_PAYMENT_ENABLED = env.bool("TELEGRAM_PAYMENT_ENABLED", default=True)
TELEGRAM_IP_ALLOWLIST = networks("TELEGRAM_IP_ALLOWLIST")

# --- Stripe: nothing of it is there without its key -----------------------------------------------------------------

STRIPE_SECRET_KEY = env.str("STRIPE_SECRET_KEY", default="")
STRIPE_WEBHOOK_SECRETS = env.list("STRIPE_WEBHOOK_SECRET", default=[])
STRIPE_API_BASE = env.str("STRIPE_API_BASE", default="https://api.stripe.com").rstrip("/")

# --- Payments -----------------------------------------------------------------------------------------------------

INVOICE_LIFETIME = timedelta(hours=1)
# Refunds by staff of more than that, in the currency's smallest unit, need a second person.
REFUND_APPROVAL_ABOVE = amounts("REFUND_APPROVAL_ABOVE")
# How long what a subscription gives goes on while no renewal has come, and how long before the end the buyer is told.
SUBSCRIPTION_GRACE = timedelta(hours=env.int("SUBSCRIPTION_GRACE_HOURS", default=24))
SUBSCRIPTION_REMINDER = timedelta(days=env.int("SUBSCRIPTION_REMINDER_DAYS", default=3))  # 0: not at all
if not timedelta() <= SUBSCRIPTION_GRACE <= timedelta(days=14):
    message = "SUBSCRIPTION_GRACE_HOURS is not between 0 and 336. Leave it out for 24."
    raise ImproperlyConfigured(message)
if not timedelta() <= SUBSCRIPTION_REMINDER <= timedelta(days=14):
    message = "SUBSCRIPTION_REMINDER_DAYS is not between 0 and 14. Leave it out for 3."
    raise ImproperlyConfigured(message)
# What must hold in the books, named by path so that payments need not import telegram_bot: tuples of checks.
INVARIANTS = ["payments.invariants.CHECKS", "payments.reconciling.CHECKS", "telegram_bot.invariants.CHECKS"]
# Telegram's side of the payment channels, named by path so that payments need not import telegram_bot.
PAYMENTS_TELEGRAM_GATEWAY = "telegram_bot.gateway.gateway"

# --- Sign-in ------------------------------------------------------------------------------------------------------

JWT_SIGNING_KEY = required("JWT_SIGNING_KEY", why="Set it to 32 or more random bytes; it signs the buyers' tokens.")
JWT_SIGNING_KEY_FALLBACKS = env.list("JWT_SIGNING_KEY_FALLBACKS", default=[])  # they sign nothing, but are accepted
JWT_ISSUER = env.str("JWT_ISSUER", default="starledger")
JWT_AUDIENCE = env.str("JWT_AUDIENCE", default="starledger")
JWT_ALGORITHMS = env.list("JWT_ALGORITHMS", default=["HS256"])
JWT_JWKS_URL = env.str("JWT_JWKS_URL", default="")
JWT_JWKS_ISSUER = env.str("JWT_JWKS_ISSUER", default="")

for _name, _keys in {
    "JWT_SIGNING_KEY": [JWT_SIGNING_KEY],
    "JWT_SIGNING_KEY_FALLBACKS": JWT_SIGNING_KEY_FALLBACKS,
}.items():
    if any(len(key.encode()) < 32 for key in _keys):
        message = f"{_name} is shorter than 32 bytes. Use 32 or more random bytes."
        raise ImproperlyConfigured(message)
if not JWT_ALGORITHMS or not set(JWT_ALGORITHMS) <= {"HS256", "HS384", "HS512"}:
    message = (
        "JWT_ALGORITHMS goes with JWT_SIGNING_KEY: one or more of HS256, HS384, HS512. Public keys need JWT_JWKS_URL."
    )
    raise ImproperlyConfigured(message)
if bool(JWT_JWKS_URL) != bool(JWT_JWKS_ISSUER):
    message = "JWT_JWKS_URL and JWT_JWKS_ISSUER go together. Set both, or neither."
    raise ImproperlyConfigured(message)
if JWT_JWKS_URL and urlsplit(JWT_JWKS_URL).scheme not in {"http", "https"}:
    message = f"JWT_JWKS_URL is {JWT_JWKS_URL}: it must be an address of http or https."
    raise ImproperlyConfigured(message)

REDIS_URL = env.str("REDIS_URL", default="")

# --- API ----------------------------------------------------------------------------------------------------------

API_DOCS_PUBLIC = env.bool("API_DOCS_PUBLIC", default=True)
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [],
    "DEFAULT_PERMISSION_CLASSES": ["config.api.permissions.NobodyByDefault"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["config.api.parsers.StrictJSONParser"],
    "DEFAULT_SCHEMA_CLASS": "config.api.schema.ProblemAwareSchema",
    "EXCEPTION_HANDLER": "config.api.problems.problem_response",
    "UNAUTHENTICATED_USER": None,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Starledger",
    "DESCRIPTION": "Sell inside Telegram: invoices, payments recorded exactly once, and who may use what.",
    "VERSION": "1",
    "OAS_VERSION": "3.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "POSTPROCESSING_HOOKS": [],  # enums stay beside the fields that have them
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
}
DATA_UPLOAD_MAX_MEMORY_SIZE = 1024 * 1024  # bytes of any body
# Calls of one address in any 60 seconds, where the API asks for no credentials, and with credentials that are not good.
OPEN_CALLS_PER_MINUTE = env.int("OPEN_CALLS_PER_MINUTE", default=300)
if OPEN_CALLS_PER_MINUTE < 1:
    message = "OPEN_CALLS_PER_MINUTE is below 1: no buyer could sign in. Leave it out for 300."
    raise ImproperlyConfigured(message)

# --- Words and times ----------------------------------------------------------------------------------------------

LANGUAGE_CODE = "en"
LANGUAGES = [("en", _("English")), ("ru", _("Russian"))]
LOCALE_PATHS = [BASE_DIR / "telegram_bot" / "locale"]
TIME_ZONE = "UTC"
USE_TZ = True

# --- Pages --------------------------------------------------------------------------------------------------------

STATIC_URL = "static/"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
WHITENOISE_USE_FINDERS = True  # the few static files are served from their packages; nothing has to be collected

SESSION_COOKIE_AGE = int(timedelta(hours=12).total_seconds())  # a day's work; money asks again, see config.confirmation
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE
# With that prefix browsers take them from this host alone, and from no neighbour under the same domain.
SESSION_COOKIE_NAME, CSRF_COOKIE_NAME = (
    ("__Host-sessionid", "__Host-csrftoken") if SECURE else ("sessionid", "csrftoken")
)
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
# The proxy ends TLS and says so. Without that the forms of staff would seem to come from another origin.
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if SECURE else None
SECURE_SSL_REDIRECT = False  # Telegram counts a redirect as a failure; the proxy redirects people.
SECURE_HSTS_SECONDS = int(timedelta(days=365).total_seconds()) if SECURE else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE and env.bool("HSTS_INCLUDE_SUBDOMAINS", default=True)
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
PERMISSIONS_POLICY = "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()"
# What config/checks.py and Django ask of production, but for what goes without saying here: SECURE_SSL_REDIRECT is
# explained above, and plain http on a loopback address has neither HSTS nor cookies for https alone. That a domain and
# all its subdomains may go into the lists of browsers is for its owner to say, not for one shop in it.
SILENCED_SYSTEM_CHECKS = [
    "security.W008",
    "security.W021",
    *(() if SECURE_HSTS_INCLUDE_SUBDOMAINS else ("security.W005",)),
    *(() if SECURE else ("security.W004", "security.W012", "security.W016")),
    *env.list("SILENCED_SYSTEM_CHECKS", default=[]),
]
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'none'"],
        "script-src": ["'self'"],
        "style-src": ["'self'"],
        "img-src": ["'self'", "data:"],
        "font-src": ["'self'"],
        "connect-src": ["'self'"],
        "form-action": ["'self'"],
        "base-uri": ["'none'"],
        "frame-ancestors": ["'none'"],
    },
}

# --- Admin --------------------------------------------------------------------------------------------------------

UNFOLD = {
    "SITE_TITLE": "Starledger",
    "SITE_HEADER": "Starledger",
    "SITE_SYMBOL": "star",
    "SITE_URL": None,
    "SITE_FAVICONS": [
        {"rel": "icon", "type": "image/svg+xml", "href": lambda request: static("starledger/favicon.svg")}
    ],
    "SHOW_HISTORY": True,
    "DASHBOARD_CALLBACK": "config.attention.first_page",
    "STYLES": [lambda request: static("starledger/admin.css")],
    "SCRIPTS": [lambda request: static("starledger/times.js")],
    "SIDEBAR": {"navigation": NAVIGATION},
}
# What the theme needs beyond the policy above: it computes scripts from attributes, and styles single elements.
ADMIN_CONTENT_SECURITY_POLICY = {"script-src": ["'unsafe-eval'"], "style-src": ["'unsafe-inline'"]}
# Who knows part of a payment's story, each `(payment) -> entries`; of a customer's; and what waits for a person.
TIMELINE_SOURCES = ["telegram_bot.timeline.tell", "payments.stripe.timeline.tell", "payments.timeline.tell"]
# Who else has what a buyer told about himself with a payment and must let go of it, each `(payment)`.
ORDER_INFO_ERASERS = ["telegram_bot.retention.blank_updates_about"]
CUSTOMER_HISTORY_SOURCES = ["payments.timeline.tell_of_customer", "entitlements.timeline.tell_of_customer"]
FIRST_PAGE_SECTIONS = ["payments.revenue_pages.summary"]  # each `(request) -> HTML`, empty for whom it is not
ATTENTION_SOURCES = [
    "payments.attention.held_payments",
    "payments.attention.refunds_to_approve",
    "payments.attention.open_discrepancies",
    "payments.attention.last_reconciliation",
    "telegram_bot.attention.dead_letters",
    "telegram_bot.attention.quarantined",
    "payments.attention.open_disputes",
    "payments.attention.undecided_stripe_events",
    "payments.attention.oldest_unsent_notice",
    "payments.attention.contradictions",
]

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("MinimumLengthValidator", "CommonPasswordValidator", "NumericPasswordValidator")
]

STAFF_SECOND_FACTOR = not DEBUG
OTP_TOTP_ISSUER = "Starledger"
OTP_ADMIN_HIDE_SENSITIVE_DATA = True

# --- What operators see -------------------------------------------------------------------------------------------

METRICS_TOKEN = env.str("METRICS_TOKEN", default="")
_shared_metrics = env.str("PROMETHEUS_MULTIPROC_DIR", default="")
if _shared_metrics and not Path(_shared_metrics).is_dir():
    message = f"PROMETHEUS_MULTIPROC_DIR is {_shared_metrics}: there is no such directory. Make it, or leave it unset."
    raise ImproperlyConfigured(message)
LOG_LEVEL = env.str("LOG_LEVEL", default="INFO").upper()
LOG_FORMAT = env.str("LOG_FORMAT", default="console" if DEBUG else "json")
SENTRY_DSN = env.str("SENTRY_DSN", default="")
LOGGING_CONFIG = "config.logging.configure"
DEFAULT_EXCEPTION_REPORTER = "config.reports.RedactedReporter"
LOGGING = {"level": LOG_LEVEL, "format": LOG_FORMAT, "sentry_dsn": SENTRY_DSN}

# What `manage.py doctor` looks at, in this order: each `() -> findings`.
DOCTOR_CHECKS = [
    *(
        f"config.doctor.{name}"
        for name in (
            "fitness",
            "database",
            "migrations",
            "durability",
            "time_limits",
            "replica",
            "clock",
            "connections",
            "transactions",
            "replication",
            "redis",
        )
    ),
    *(
        f"payments.doctor.{name}"
        for name in (
            "guards",
            "books",
            "reconciliation",
            "provider_token",
            "providers_limits",
            "stripes_key",
            "telegrams_rule",
        )
    ),
    *(f"telegram_bot.doctor.{name}" for name in ("token", "telegrams_clock", "webhook", "inbox")),
    *(f"config.doctor.{name}" for name in ("workers", "jobs", "watching")),
    "payments.doctor.messages",
]

# --- Jobs ---------------------------------------------------------------------------------------------------------

PROCRASTINATE_AUTODISCOVER_MODULE_NAME = "tasks"
# What a worker runs beside the jobs, each `(stop: threading.Event) -> None` in a thread of its own.
WORKER_LOOPS = ["telegram_bot.notices.drain"]
# What a worker does as soon as it starts: periodic tasks that should not wait for their time.
JOBS_AT_START = ["payments.tasks.reconcile"]

# Derived keys: one secret, several purposes, none of them the secret itself.
PAYLOAD_KEYS = [  # the first makes payloads, each of them checks
    hashlib.blake2b(b"invoice payloads", key=key.encode()[:64], digest_size=32).digest()
    for key in (SECRET_KEY, *SECRET_KEY_FALLBACKS)
]
