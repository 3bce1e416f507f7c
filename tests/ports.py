"""Ports for the servers that tests start."""

import random
import socket

# Below the ports that systems give to outgoing connections (32768 and up on Linux, 49152 elsewhere): one of those may
# be taken by any connection of any test before the server it was chosen for has started.
SERVED = range(10_000, 32_000)


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens at."""
    while True:
        port = random.choice(SERVED)  # any will do
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
