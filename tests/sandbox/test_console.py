"""The local Telegram as a program."""

import signal
import socket
import subprocess
import sys

import httpx
import pytest
from django.core.management import CommandError, call_command
from django.test import override_settings

TOKEN = "123456789:a-token-of-the-tests-that-opens-nothing"


def start(*arguments: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "telegram_bot.sandbox", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


class TestTheProgram:
    @pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
    def test_prints_its_address_keeps_its_state_and_stops_cleanly(self, tmp_path, stop):
        state = tmp_path / "state.json"
        with start("--port", "0", "--token", TOKEN, "--state", str(state)) as process:
            line = process.stdout.readline()
            address = line.removeprefix("Local Telegram at ").strip()
            me = httpx.get(f"{address}bot{TOKEN}/getMe").json()["result"]
            httpx.post(f"{address}local/people", json={"first_name": "Alice"})
            process.send_signal(stop)
            _, complaints = process.communicate(timeout=10)

        assert address.startswith("http://127.0.0.1:")
        assert me["id"] == 123456789
        assert (process.returncode, complaints) == (0, "")
        assert "Alice" in state.read_text()

    def test_says_in_one_sentence_that_its_port_is_taken(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            with start("--port", str(port)) as process:
                output, complaints = process.communicate(timeout=10)

        assert process.returncode == 1
        assert output == ""
        assert complaints == (
            f"The local Telegram cannot start: port {port} of 127.0.0.1 cannot be used: Address already in use.\n"
        )

    def test_says_in_one_sentence_that_there_is_no_such_port(self):
        with start("--port", "99999") as process:
            _, complaints = process.communicate(timeout=10)

        assert process.returncode == 1
        assert complaints == (
            "The local Telegram cannot start: port 99999 of 127.0.0.1 cannot be used: there is no such port.\n"
        )

    def test_says_in_one_sentence_that_its_state_cannot_be_read(self, tmp_path):
        state = tmp_path / "state.json"
        state.write_text("{")
        with start("--port", "0", "--state", str(state)) as process:
            _, complaints = process.communicate(timeout=10)

        assert process.returncode == 1
        assert complaints.startswith(f"The local Telegram cannot start: cannot use the state file {state}:")
        assert complaints.count("\n") == 1

    def test_says_in_one_sentence_that_its_token_is_none(self):
        with start("--token", "secret") as process:
            _, complaints = process.communicate(timeout=10)

        assert process.returncode == 1
        assert complaints.startswith("The local Telegram cannot start: a bot token is a number, a colon")

    def test_listens_to_this_machine_alone(self):
        with start("--port", "0") as process:
            port = int(process.stdout.readline().rstrip("/\n").rpartition(":")[2])
            with socket.socket() as other:
                # 127.0.0.2 is this machine too, but not the address it listens on.
                refused = other.connect_ex(("127.0.0.2", port))
            process.terminate()
            process.communicate(timeout=10)

        assert refused != 0

    def test_loads_nothing_of_the_shop(self):
        code = (
            "import sys, telegram_bot.sandbox.console;"
            "ours = {'django', 'payments', 'entitlements', 'config'};"
            "print([name for name in sys.modules if name.split('.')[0] in ours])"
        )
        loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

        assert loaded.stdout.strip() == "[]"


class TestTheCommand:
    @override_settings(DEBUG=False)
    def test_refuses_in_production(self):
        with pytest.raises(CommandError, match="for development: set DEBUG=true"):
            call_command("local_telegram", port=0)

    @override_settings(DEBUG=True)
    def test_leaves_with_1_when_it_cannot_start(self, capsys):
        with pytest.raises(SystemExit) as left:
            call_command("local_telegram", port=0, token="secret")

        assert left.value.code == 1
        assert "a bot token is a number" in capsys.readouterr().err
