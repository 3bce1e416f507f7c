"""The proxy of deploy/, configured for places of a test's own."""

import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from config.env import BASE_DIR
from tests.ports import free_port

NGINX = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
STARTS_WITHIN = 60  # seconds
UPSTREAM = re.compile(r"(^ *server 127\.0\.0\.1:)8000(.*;\n).*:8001 .*;\n", re.MULTILINE)


class NotInstalled(Exception):
    """There is no nginx on this machine; the message says how to get it."""

    def __init__(self) -> None:
        super().__init__("nginx is not installed (Debian: apt-get install nginx-light).")


def configured(
    directory: Path,
    *,
    port: int,
    upstreams: Sequence[int],
    certificate: Path | None,
    telegram: str = "127.0.0.0/8",
    redirecting: int | None = None,
) -> Path:
    """The file in deploy/ with other ports and paths.

    :param certificate: with its key; None: plain http
    :param telegram: the addresses that count as Telegram's
    :param redirecting: the port in place of 80; None: any
    """
    text = (BASE_DIR / "deploy" / "nginx.conf").read_text()
    if certificate is None:
        text = re.sub(r" +ssl_\w+ .*\n", "", text)
    for theirs, ours in {
        "/run/nginx.pid": f"{directory}/nginx.pid",
        "/var/log/nginx/error.log": f"{directory}/error.log",
        "/etc/letsencrypt/live/shop.example/fullchain.pem": str(certificate),
        "/etc/letsencrypt/live/shop.example/privkey.pem": str(certificate),
        "/var/www/html": str(directory),
        "149.154.160.0/20": telegram,
        "        listen [::]:443 ssl;\n": "",
        "        listen [::]:80;\n": "",
        "listen 443 ssl": f"listen 127.0.0.1:{port}{' ssl' if certificate else ''}",
        "listen 80": f"listen 127.0.0.1:{redirecting or free_port()}",
    }.items():
        assert theirs in text or (certificate is None and "letsencrypt" in theirs)
        text = text.replace(theirs, ours)
    text, found = UPSTREAM.subn(lambda line: "".join(f"{line[1]}{upstream}{line[2]}" for upstream in upstreams), text)
    assert found == 1
    path = directory / "nginx.conf"
    path.write_text(text)
    return path


@contextmanager
def proxy(configuration: Path, port: int) -> Iterator[None]:
    """nginx, answering at the port until the end of the block.

    :raises NotInstalled: there is none
    """
    if NGINX is None:
        raise NotInstalled
    process = subprocess.Popen([NGINX, "-c", configuration, "-g", "daemon off;"], stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + STARTS_WITHIN
        with socket.socket() as probe:
            while probe.connect_ex(("127.0.0.1", port)) != 0:
                assert process.poll() is None, (configuration.parent / "error.log").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(30)
