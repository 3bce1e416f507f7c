"""T15: behind the proxy that deploy/ ships, slow clients hold up nobody."""

import os
import socket
import ssl
import subprocess
import tempfile
import threading
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import httpx
import pytest
from django.conf import settings

from config.api.problems import CONTENT_TYPE, Code, Problem
from config.sign_in import LIMIT_OF_NAME
from entitlements.models import RateLimit
from payments.models import PaymentEvent
from telegram_bot.webhook import PATH, SECRET_HEADER
from tests import updates
from tests.certificates import self_signed
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
    return self_signed(tmp_path_factory.mktemp("tls") / "both.pem")


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


@pytest.fixture(scope="module")
def ports():
    """Of a proxy whose web server is away and whose visitors may have one connection; and of its redirects."""
    port, redirecting = free_port(), free_port()
    with tempfile.TemporaryDirectory(prefix="starledger-proxy-") as name:  # where its account gets to its files
        directory = Path(name)
        directory.chmod(0o711)
        challenge = directory / ".well-known" / "acme-challenge"
        challenge.mkdir(parents=True)
        (challenge / "token").write_text("proof")
        configuration = configured(
            directory,
            port=port,
            upstreams=[free_port()],
            certificate=None,
            telegram="192.0.2.0/24",
            redirecting=redirecting,
        )
        text = configuration.read_text()
        assert "limit_conn visitors 50;" in text
        configuration.write_text(text.replace("limit_conn visitors 50;", "limit_conn visitors 1;"))
        with proxy(configuration, port):
            yield port, redirecting


class TestWhatItTellsItself:
    @pytest.fixture
    def programs(self, ports):
        with httpx.Client(base_url=f"http://127.0.0.1:{ports[0]}", timeout=60) as client:
            yield client

    @staticmethod
    def is_the_problem(answer: httpx.Response, code: Code) -> bool:
        ours = Problem(code).response()
        assert answer.json() == Problem(code).document()
        assert answer.headers.get("Retry-After") == ours.headers.get("Retry-After")
        return (answer.status_code, answer.headers["Content-Type"]) == (code.status, CONTENT_TYPE)

    @pytest.mark.parametrize("path", ["/api/v1/catalog", PATH, "/webhook/telegram/refund"])
    def test_is_a_problem_while_no_web_server_answers(self, programs, path):
        assert self.is_the_problem(programs.post(path, content=b"{}"), Code.UNAVAILABLE)

    def test_is_a_problem_about_a_body_that_is_too_large(self, programs):
        assert self.is_the_problem(programs.post(PATH, content=b"x" * 1_100_000), Code.TOO_LARGE)

    def test_is_a_problem_about_too_many_connections(self, ports, programs):
        with socket.create_connection(("127.0.0.1", ports[0]), timeout=60) as busy:
            busy.sendall(
                f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\nExpect: 100-continue\r\n\r\n".encode()
            )
            assert busy.recv(12) == b"HTTP/1.1 100"  # it has begun with this one

            assert self.is_the_problem(programs.get("/api/v1/catalog"), Code.RATE_LIMITED)

    @pytest.mark.parametrize("path", ["/readyz", "/metrics", "//metrics", "/%6detrics"])
    def test_is_no_word_about_the_shop_to_strangers(self, ports, programs, path):
        stranger = httpx.HTTPTransport(local_address="127.0.0.2")
        with httpx.Client(transport=stranger, timeout=60) as client:
            answer = client.get(programs.base_url.copy_with(raw_path=path.encode()))

        assert answer.status_code == 403
        assert programs.get(path).status_code == 502

    def test_is_the_proof_that_the_name_is_ours_and_else_the_way_to_https(self, ports):
        base = f"http://127.0.0.1:{ports[1]}"

        assert httpx.get(f"{base}/.well-known/acme-challenge/token").text == "proof"
        away = httpx.get(f"{base}/admin/?x=1", headers={"Host": "shop.example"})
        assert (away.status_code, away.headers["Location"]) == (308, "https://shop.example/admin/?x=1")


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
