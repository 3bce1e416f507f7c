"""The load generator measures what a client feels, and believes no answer it has not looked at."""

import http.server
import itertools
import threading
import time
from collections.abc import Iterator

import pytest

from benchmarks.load import Call, Due, LoadFailed, closed_loop, http_request, open_loop

PAUSE = 0.3


class Answering(http.server.BaseHTTPRequestHandler):
    """Says what it was told; /slow takes its time, /gone hangs up, /chunked speaks in parts."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        said = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/gone":
            self.close_connection = True
            return
        if self.path == "/slow":
            time.sleep(PAUSE)
        self.send_response(500 if self.path == "/broken" else 200)
        if self.path == "/chunked":
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"3\r\n" + said[:3] + b"\r\n" + b"%x\r\n" % len(said[3:]) + said[3:] + b"\r\n0\r\n\r\n")
        else:
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

    def log_message(self, *_: object) -> None:
        """Nothing: the tests look at the answers."""


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def saying(text: bytes, path: str = "/", *, expecting: bytes | None = None) -> Call:
    return Call(http_request("POST", path, text), lambda body: body == (text if expecting is None else expecting))


class TestTheClosedLoop:
    def test_counts_every_answer_until_the_calls_run_out(self, port: int) -> None:
        outcome = closed_loop(port, iter([saying(b"hello")] * 50), seconds=10, connections=4)

        assert outcome.answered == 50
        assert not outcome.wrong

    def test_stops_sending_when_the_time_is_over(self, port: int) -> None:
        outcome = closed_loop(port, itertools.repeat(saying(b"hello")), seconds=0.2, connections=2)

        assert 0.2 <= outcome.seconds < 2
        assert outcome.answered > 2

    def test_reads_chunked_answers(self, port: int) -> None:
        closed_loop(port, iter([saying(b"in three parts", "/chunked")] * 5), seconds=10).require_right()

    @pytest.mark.parametrize(
        "call", [saying(b"yes", expecting=b"no"), saying(b"yes", "/broken")], ids=["another body", "another status"]
    )
    def test_does_not_take_a_wrong_answer_for_a_right_one(self, port: int, call: Call) -> None:
        outcome = closed_loop(port, iter([call] * 3), seconds=10)

        with pytest.raises(LoadFailed, match="3 of 3 answers were wrong"):
            outcome.require_right()

    def test_fails_when_the_server_hangs_up(self, port: int) -> None:
        with pytest.raises(LoadFailed, match="hung up"):
            closed_loop(port, iter([saying(b"x", "/gone")]), seconds=10)


class TestTheOpenLoop:
    def test_counts_the_wait_for_a_free_connection_as_latency(self, port: int) -> None:
        schedule = [Due(0.0, "slow", saying(b"x", "/slow")), Due(0.01, "behind it", saying(b"y"))]

        outcome = open_loop(port, schedule, connections=1)

        assert outcome.percentile("behind it", 50) >= PAUSE - 0.01

    def test_sends_no_call_before_its_time(self, port: int) -> None:
        outcome = open_loop(port, [Due(number * 0.05, "", saying(b"x")) for number in range(5)])

        assert outcome.seconds >= 0.2
        assert outcome.percentile("", 99) < 0.2
