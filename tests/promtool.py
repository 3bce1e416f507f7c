"""Prometheus' own judge of metrics and rules."""

import os
import shutil
import subprocess

import pytest


def promtool(*words: str, read: bytes = b"") -> tuple[int, str]:
    """What promtool says, and whether it is content: 0. Without it the test is skipped, with REQUIRE_ALL it fails."""
    path = shutil.which("promtool")
    if path is None:
        (pytest.fail if os.environ.get("REQUIRE_ALL") else pytest.skip)("promtool is missing: Debian's prometheus")
    ended = subprocess.run([path, *words], input=read, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return ended.returncode, ended.stdout.decode()
