"""The process that starts an embedded PostgreSQL, outlives its last user and stops it (see embedded_postgres.py).

Run as a script, without the virtual environment. Its argument is a JSON object of the arguments of `guard`.
"""

import contextlib
import ctypes
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

SOCKET = ".s.PGSQL.5432"
LONGEST_SOCKET_PATH = 107


def guard(
    *, home: str, binaries: str, settings: dict[str, str], account: list[int] | None, server_lock: int, throwaway: bool
) -> None:
    """Keep the server running while anybody holds a lock on `users.lock`.

    :param account: user and group id the server runs as; None for our own
    :param server_lock: the descriptor of the locked `server.lock`, passed on to the server alone
    """
    directory = Path(home)
    sockets = directory / "socket"
    if len(bytes(sockets / SOCKET)) > LONGEST_SOCKET_PATH or "," in home:  # libpq reads a comma as a list of hosts
        sockets = Path(tempfile.mkdtemp(prefix="starledger-", dir="/tmp"))
    server = None
    with (directory / "users.lock").open() as users:
        try:
            _empty(sockets, account)
            server = _launch(directory, Path(binaries), sockets, settings, account, server_lock)
        except (OSError, subprocess.CalledProcessError) as error:
            sys.stderr.write(f"{error}\n")
        finally:
            os.close(server_lock)
        fcntl.flock(users, fcntl.LOCK_EX)
        if server:
            _end(server)
        shutil.rmtree(directory if throwaway else sockets, ignore_errors=True)


def _launch(
    home: Path, binaries: Path, sockets: Path, settings: dict[str, str], account: list[int] | None, server_lock: int
) -> subprocess.Popen[bytes]:
    run_as: dict[str, Any] = {
        "cwd": home,
        "env": {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
        "stdin": subprocess.DEVNULL,
        "preexec_fn": end_with_parent,
    }
    if account:
        run_as |= {"user": account[0], "group": account[1], "extra_groups": []}
    data = home / "data"
    if not data.exists():
        fresh = home / "fresh"  # moved into place when complete
        _empty(fresh, account)
        how = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C"]
        if settings.get("fsync") == "off":
            how.append("--no-sync")
        subprocess.run([binaries / "initdb", "-D", fresh, *how], stdout=subprocess.DEVNULL, check=True, **run_as)
        fresh.rename(data)
    quoted = str(sockets).replace('"', '""')
    options = [f"--{name}={value}" for name, value in {**settings, "unix_socket_directories": f'"{quoted}"'}.items()]
    return subprocess.Popen([binaries / "postgres", "-D", data, *options], pass_fds=[server_lock], **run_as)


def _empty(directory: Path, account: list[int] | None) -> None:
    """Make an empty directory for the server's account alone."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(mode=0o700)
    if account:
        os.chown(directory, *account)


def _end(server: subprocess.Popen[bytes]) -> None:
    """A fast shutdown, which cuts sessions and writes the data; harder ones for a server that does not heed it."""
    for how, seconds in ((signal.SIGINT, 10), (signal.SIGQUIT, 2), (signal.SIGKILL, None)):
        server.send_signal(how)
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(seconds)
            return


def end_with_parent(how: int = signal.SIGINT) -> None:
    """For `preexec_fn`: have the kernel send a signal to the child when its parent dies, even by SIGKILL."""
    if sys.platform == "linux":
        set_death_signal = 1
        ctypes.CDLL(None).prctl(set_death_signal, how)


if __name__ == "__main__":
    guard(**json.loads(sys.argv[1]))
