"""The same installation with the REST framework set up as its documentation and simplejwt's have it."""

from config.settings import *  # noqa: F403
from config.settings import JWT_AUDIENCE, JWT_ISSUER, JWT_SIGNING_KEY, SILENCED_SYSTEM_CHECKS

ROOT_URLCONF = "benchmarks.peers.textbook"
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["benchmarks.peers.textbook_authentication.CustomerAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["benchmarks.peers.textbook_authentication.IsCustomer"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
}
SIMPLE_JWT = {
    "SIGNING_KEY": JWT_SIGNING_KEY,
    "ISSUER": JWT_ISSUER,
    "AUDIENCE": JWT_AUDIENCE,
    "USER_ID_FIELD": "user_id",
    "USER_ID_CLAIM": "sub",
}
SILENCED_SYSTEM_CHECKS = [*SILENCED_SYSTEM_CHECKS, "starledger.E009"]  # it has no Content-Security-Policy
