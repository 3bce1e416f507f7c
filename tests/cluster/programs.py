"""PgBouncer and nginx as deploy/ configures them, on ports of this run."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import psycopg
from psycopg.conninfo import conninfo_to_dict

from config import embedded_postgres
from config.env import BASE_DIR
from tests.certificates import self_signed
from tests.chaos.processes import Child
from tests.proxy import configured

PASSWORD = "the-password-of-the-pooler"
OPEN_FILES = 1024  # that Debian's unit lets PgBouncer have
PACKAGES = {"pgbouncer": "pgbouncer", "nginx": "nginx"}
SYSTEM = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin"  # where they are, which not everybody has in PATH


class Program(Child):
    """One that is not ours."""

    def __init__(self, name: str, command: Sequence[str | Path], logs: Path) -> None:
        super().__init__(name, (), {"PATH": SYSTEM}, logs)
        self._command = [str(word) for word in command]


def missing(*commands: str) -> list[str]:
    """The Debian packages of those that are not here; of all when none are named."""
    return [PACKAGES[one] for one in commands or PACKAGES if shutil.which(one, path=SYSTEM) is None]


def changed(name: str, changes: Mapping[str, str]) -> str:
    """A file of deploy/ with places of this run in it.

    :raises ValueError: it does not hold what was to be changed
    """
    text = (BASE_DIR / "deploy" / name).read_text()
    for theirs, ours in changes.items():
        if theirs not in text:
            raise ValueError(f"deploy/{name} does not hold {theirs!r}")
        text = text.replace(theirs, ours)
    return text


def pgbouncer(name: str, directory: Path, *, port: int, database_url: str) -> Program:
    """The pooler before this database. Who knows PASSWORD is let in as `pooled_<port>`, a role that is made here and
    may do everything; `pooled_url` is its address.
    """
    to = conninfo_to_dict(database_url)
    server = " ".join(f"{name}={to[name]}" for name in ("host", "port", "password", "dbname") if name in to)
    certificate = self_signed(directory / "pgbouncer.pem")
    users = directory / "userlist.txt"
    users.write_text(_listed(f"pooled_{port}", database_url))
    file = directory / "pgbouncer.ini"
    file.write_text(
        changed(
            "pgbouncer.ini",
            {
                "host=127.0.0.1 port=5432 dbname=starledger": server,
                "listen_addr = *": "listen_addr = 127.0.0.1",
                "listen_port = 6432": f"listen_port = {port}",
                "/etc/postgresql/starledger.key": str(certificate),
                "/etc/postgresql/starledger.crt": str(certificate),
                "/etc/pgbouncer/userlist.txt": str(users),
                "logfile = /var/log/postgresql/pgbouncer.log\n": "",
                "pidfile = /var/run/postgresql/pgbouncer.pid\n": "",
            },
        )
    )
    command: list[str | Path] = ["prlimit", f"--nofile={OPEN_FILES}", "pgbouncer", file]
    if account := embedded_postgres._server_account():  # it refuses to run as root
        directory.chmod(0o711)
        for each in (file, users, certificate):
            each.chmod(0o644)
        who = (f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups")
        command = ["setpriv", *who, *command]
    return Program(name, command, directory)


def pooled_url(directory: Path, port: int) -> str:
    """The way by this pooler, encrypted, and to no other."""
    certificate = f"sslmode=verify-full&sslrootcert={directory}/pgbouncer.pem"
    return f"postgres://pooled_{port}:{PASSWORD}@127.0.0.1:{port}/starledger?{certificate}"


def _listed(role: str, database_url: str) -> str:
    """The list of users that the guide makes, for a new role."""
    [query] = re.findall(r"psql -qAtc \"(SELECT format.*)\" >", (BASE_DIR / "docs" / "operations.md").read_text())
    query = query.replace(r"\"", '"').replace("'starledger'", f"'{role}'")
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {role} SUPERUSER LOGIN PASSWORD '{PASSWORD}'")
        return "".join(f"{line}\n" for (line,) in connection.execute(query))


def nginx(name: str, directory: Path, *, port: int, upstreams: Sequence[int]) -> Program:
    """The proxy before these web servers; without TLS, so that the local Telegram need not trust a certificate."""
    file = configured(directory, port=port, upstreams=upstreams, certificate=None)
    return Program(name, ["nginx", "-c", file, "-g", "daemon off;"], directory)
