"""T15: behind the proxy that deploy/ ships, slow clients hold up nobody."""

import os
import socket
import ssl
import subprocess
import threading
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from django.conf import settings

from config.sign_in import LIMIT_OF_NAME
from entitlements.models import RateLimit
from payments.models import PaymentEvent
from telegram_bot.webhook import PATH, SECRET_HEADER
from tests import updates
from tests.config.test_serve import serving
from tests.factories import CustomerFactory, InvoiceFactory
from tests.ports import free_port
from tests.proxy import NGINX, configured, proxy

SLOW_CLIENTS = 500
PAYMENTS = 20


@pytest.fixture(scope="module", autouse=True)
def nginx() -> None:
    """The program, without which nothing here can be seen."""
    if NGINX is None:
        end = pytest.fail if os.environ.get("REQUIRE_ALL") else pytest.skip
        end("nginx is not installed (Debian: apt-get install nginx)")


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
    configuration = configured(tmp_path, certificate=certificate, port=port, upstreams=[upstream])
    production = {"PUBLIC_URL": f"https://localhost:{port}", "TRUSTED_PROXIES": "127.0.0.1"}
    with serving(upstream, **production), proxy(configuration, port):
        yield port, ssl.create_default_context(cafile=certificate)


def test_the_file_is_one_that_nginx_accepts(tmp_path, certificate):
    configuration = configured(tmp_path, certificate=certificate, port=free_port(), upstreams=[free_port()])

    checked = subprocess.run([NGINX, "-t", "-c", configuration], capture_output=True, text=True)

    assert checked.returncode == 0, checked.stderr
    assert "[warn]" not in checked.stderr


def test_a_request_goes_on_only_when_it_is_here_as_a_whole(tmp_path, certificate):
    port, tls = free_port(), ssl.create_default_context(cafile=certificate)
    with ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        server.settimeout(60)
        upstream = server.getsockname()[1]
        stack.enter_context(proxy(configured(tmp_path, certificate=certificate, port=port, upstreams=[upstream]), port))
        for request in (
            b"POST /half HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n1",
            b"GET /whole HTTP/1.0\r\n\r\n",
        ):
            plain = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=60))
            stack.enter_context(tls.wrap_socket(plain, server_hostname="localhost")).sendall(request)
        passed_on, _ = server.accept()

        with passed_on:
            assert passed_on.recv(10) == b"GET /whole"


@pytest.mark.django_db(transaction=True)
def test_nobody_can_say_that_he_comes_from_somewhere_else(front):
    port, tls = front
    elsewhere = httpx.HTTPTransport(verify=tls, local_address="127.0.0.2")  # not where the proxy is
    with httpx.Client(base_url=f"https://localhost:{port}", transport=elsewhere, timeout=60) as guesser:
        guesser.get("/admin/login/")
        pages = [
            guesser.post(
                "/admin/login/",
                data={
                    "csrfmiddlewaretoken": guesser.cookies["__Host-csrftoken"],
                    "username": "dana",
                    "password": "guessed",
                },
                headers={
                    "Origin": f"https://localhost:{port}",
                    **dict.fromkeys(("X-Forwarded-For", "X_Forwarded_For", "Forwarded"), f"203.0.113.{number}"),
                },
            ).text
            for number in range(LIMIT_OF_NAME + 1)
        ]

    assert ["Too many attempts" in page for page in pages] == [False] * LIMIT_OF_NAME + [True]
    (subject,) = RateLimit.objects.filter(subject__endswith=":dana").values_list("subject", flat=True)
    assert subject == "sign-in:127.0.0.2:dana"


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
