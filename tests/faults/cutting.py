"""A wire to PostgreSQL that is cut after a chosen message: the server acts, and its answer is lost."""

import socket
import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.ports import free_port

CHUNK = 1 << 16


class CutWire:
    """Forwards connections to a PostgreSQL at a host or, where that is a path, at a socket."""

    def __init__(self, host: str, port: str) -> None:
        self._server = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", port_of_ours := free_port()))
        self.port = port_of_ours
        self._lock = threading.Lock()
        self._cut_after: int | None = None
        self.was_cut = False

    def __enter__(self) -> Self:
        threading.Thread(target=self._listen, daemon=True).start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._listener.close()

    def cut_after(self, message: int | None) -> None:
        """Lose the answer to the message of this number, counted from now on, and the connection with it; or none."""
        with self._lock:
            self._cut_after = message
            self.was_cut &= message is None

    def _listen(self) -> None:
        with suppress(OSError):
            while True:
                ours, _ = self._listener.accept()
                threading.Thread(target=self._forward, args=(ours,), daemon=True).start()

    def _forward(self, ours: socket.socket) -> None:
        with ours, self._connected() as theirs:
            lost = threading.Event()
            answering = threading.Thread(target=self._answer, args=(theirs, ours, lost), daemon=True)
            answering.start()
            with suppress(OSError):
                while message := ours.recv(CHUNK):
                    if self._is_the_last():
                        lost.set()
                    theirs.sendall(message)
                theirs.shutdown(socket.SHUT_WR)
            answering.join()

    def _answer(self, theirs: socket.socket, ours: socket.socket, lost: threading.Event) -> None:
        """Until the server hangs up, or has answered what shall not be known."""
        with suppress(OSError):
            while answer := theirs.recv(CHUNK):
                if lost.is_set():
                    break
                ours.sendall(answer)
        with suppress(OSError):
            ours.shutdown(socket.SHUT_RDWR)

    def _is_the_last(self) -> bool:
        with self._lock:
            if self._cut_after is None:
                return False
            self._cut_after -= 1
            if self._cut_after >= 0:
                return False
            self._cut_after, self.was_cut = None, True
            return True

    def _connected(self) -> socket.socket:
        host, port = self._server
        if not host.startswith("/"):
            return socket.create_connection((host, port))
        theirs = socket.socket(socket.AF_UNIX)
        theirs.connect(str(Path(host) / f".s.PGSQL.{port}"))
        return theirs
