"""T15: behind the proxy that deploy/ ships, slow clients hold up nobody."""

import os
import shutil
import socket
import ssl
import subprocess
import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from django.conf import settings

from config.env import BASE_DIR
from payments.models import PaymentEvent
from telegram_bot.webhook import PATH, SECRET_HEADER
from tests import updates
from tests.config.test_serve import serving
from tests.factories import CustomerFactory, InvoiceFactory
from tests.ports import free_port

NGINX = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
SLOW_CLIENTS = 500
PAYMENTS = 20

pytestmark = pytest.mark.skipif(NGINX is None and not os.environ.get("REQUIRE_ALL"), reason="nginx is not installed")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> Path:
    """For shop.example, signed by itself; the key is in the same file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "shop.example")])
    begins = datetime.now(UTC) - timedelta(days=1)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(begins + timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    path.write_bytes(
        signed.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return path


def configured(directory: Path, *, certificate: Path, port: int, upstream: int) -> Path:
    """The file in deploy/ with places of the test's own; this machine's address counts as Telegram's."""
    text = (BASE_DIR / "deploy" / "nginx.conf").read_text()
    for theirs, ours in {
        "/run/nginx.pid": f"{directory}/nginx.pid",
        "/var/log/nginx/error.log": f"{directory}/error.log",
        "/etc/letsencrypt/live/shop.example/fullchain.pem": str(certificate),
        "/etc/letsencrypt/live/shop.example/privkey.pem": str(certificate),
        "149.154.160.0/20": "127.0.0.0/8",
        "        listen [::]:443 ssl;\n": "",
        "        listen [::]:80;\n": "",
        "listen 443 ssl": f"listen 127.0.0.1:{port} ssl",
        "listen 80": f"listen 127.0.0.1:{free_port()}",
        "127.0.0.1:8000": f"127.0.0.1:{upstream}",
    }.items():
        assert theirs in text
        text = text.replace(theirs, ours)
    path = directory / "nginx.conf"
    path.write_text(text)
    return path


@contextmanager
def proxy(configuration: Path, port: int):
    process = subprocess.Popen([NGINX, "-c", configuration, "-g", "daemon off;"], stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        with socket.socket() as probe:
            while probe.connect_ex(("127.0.0.1", port)) != 0:
                assert process.poll() is None, (configuration.parent / "error.log").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(30)


@contextmanager
def slow_clients(port: int, tls: ssl.SSLContext):
    """Five hundred that send a byte a second: half of them headers, half a body that is announced as longer."""
    headers = b"POST /api/v1/miniapp/exchange-initdata HTTP/1.1\r\nHost: localhost\r\n"
    announced = headers + b"Content-Type: application/json\r\nContent-Length: 100000\r\n\r\n"
    done = threading.Event()
    with ExitStack() as stack:
        clients = []
        for number in range(SLOW_CLIENTS):
            plain = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=60))
            client = stack.enter_context(tls.wrap_socket(plain, server_hostname="localhost"))
            client.sendall(announced if number % 2 else headers)
            clients.append(client)

        def dribble() -> None:
            while not done.wait(1):
                for client in clients:
                    with suppress(OSError):  # it was too slow for the proxy
                        client.sendall(b"x")

        thread = threading.Thread(target=dribble)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()


@pytest.fixture
def front(tmp_path, certificate):
    """The server behind the proxy: its port, and what trusts the certificate."""
    upstream, port = free_port(), free_port()
    configuration = configured(tmp_path, certificate=certificate, port=port, upstream=upstream)
    with serving(upstream, PUBLIC_URL=f"https://localhost:{port}"), proxy(configuration, port):
        yield port, ssl.create_default_context(cafile=certificate)


def test_the_file_is_one_that_nginx_accepts(tmp_path, certificate):
    configuration = configured(tmp_path, certificate=certificate, port=free_port(), upstream=free_port())

    checked = subprocess.run([NGINX, "-t", "-c", configuration], capture_output=True, text=True)

    assert checked.returncode == 0, checked.stderr
    assert "[warn]" not in checked.stderr


@pytest.mark.django_db(transaction=True)
def test_payments_are_recorded_while_five_hundred_clients_send_a_byte_a_second(front, gold):
    port, tls = front
    invoices = [InvoiceFactory(plan=gold, customer=CustomerFactory()) for _ in range(PAYMENTS)]
    headers = {SECRET_HEADER: settings.TELEGRAM_WEBHOOK_SECRETS[0]}

    with (
        slow_clients(port, tls),
        httpx.Client(base_url=f"https://localhost:{port}", headers=headers, verify=tls, timeout=60) as telegram,
    ):
        answers = [
            telegram.post(PATH, content=updates.body(updates.payment(invoice, charge_id=f"stx{invoice.payload}")))
            for invoice in invoices
        ]

    assert [answer.status_code for answer in answers] == [200] * PAYMENTS
    assert PaymentEvent.objects.count() == PAYMENTS


@pytest.mark.django_db(transaction=True)
def test_a_body_announced_as_too_large_is_refused_before_it_is_read(front):
    port, tls = front
    with (
        socket.create_connection(("127.0.0.1", port), timeout=60) as plain,
        tls.wrap_socket(plain, server_hostname="localhost") as client,
    ):
        client.sendall(f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000\r\n\r\n".encode())

        assert client.recv(12) == b"HTTP/1.1 413"


@pytest.mark.django_db(transaction=True)
def test_staff_can_post_forms_through_it(front):
    port, tls = front
    with httpx.Client(base_url=f"https://localhost:{port}", verify=tls, timeout=60) as staff:
        page = staff.get("/admin/login/")
        answer = staff.post(
            "/admin/login/",
            data={"csrfmiddlewaretoken": staff.cookies["__Host-csrftoken"], "username": "dana", "password": "wrong"},
            headers={"Origin": f"https://localhost:{port}", "Referer": str(page.url)},
        )

    assert answer.status_code == 200
    assert "Strict-Transport-Security" in answer.headers
