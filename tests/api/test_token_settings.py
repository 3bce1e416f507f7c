"""Settings under which no token could be had or checked stop the start, with a sentence that names the variable."""

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "setting",
    [
        {"PROMETHEUS_MULTIPROC_DIR": "/nowhere/to/be/found"},
        {"JWT_SIGNING_KEY": "short"},
        {"JWT_SIGNING_KEY_FALLBACKS": f"{'long enough' * 3},short"},
        {"OPEN_CALLS_PER_MINUTE": "0"},
        {"JWT_ALGORITHMS": "RS256"},
        {"JWT_ALGORITHMS": "HS256,none"},
        {"JWT_JWKS_URL": "https://host.example/jwks.json"},
        {"JWT_JWKS_ISSUER": "https://host.example"},
        {"JWT_JWKS_URL": "file:///etc/passwd", "JWT_JWKS_ISSUER": "https://host.example"},
    ],
)
def test_a_bad_setting_stops_the_start(setting):
    started = subprocess.run(
        [sys.executable, "-c", "import config.settings"],
        env={**os.environ, **setting},
        capture_output=True,
        text=True,
        check=False,
    )

    assert started.returncode == 1
    last_line = started.stderr.strip().splitlines()[-1]
    assert "ImproperlyConfigured" in last_line
    assert next(iter(setting)) in last_line
