"""The local Telegram as a program: prints its address, serves until it is told to stop."""

import argparse
import asyncio
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from telegram_bot.sandbox.server import HOST, PortTaken, Server
from telegram_bot.sandbox.store import UnreadableState
from telegram_bot.sandbox.world import DEMO_TOKEN, Options

REMEMBERED = 5_000


def run(*, port: int, token: str, state: Path | None, follow: Callable[[float], None] | None = None) -> int:
    """Serve until Ctrl-C or SIGTERM, and tell the exit code: 1 when it could not start."""
    try:
        server = Server(Options(token=token, state=state, wire=REMEMBERED, follow=follow))
        asyncio.run(_serve(server, port))
    except (ValueError, UnreadableState, PortTaken) as error:
        sys.stderr.write(f"The local Telegram cannot start: {error}.\n")
        return 1
    return 0


async def _serve(server: Server, port: int) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)
    port = await server.start(port)
    sys.stdout.write(f"Local Telegram at http://{HOST}:{port}/\n")
    sys.stdout.flush()
    try:
        await stopping.wait()
    finally:
        await server.stop()


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m telegram_bot.sandbox", description=__doc__)
    parser.add_argument("--port", type=int, default=8081, help=f"of {HOST} (8081); 0: a free one")
    parser.add_argument("--token", default=DEMO_TOKEN, help=f"the bot's ({DEMO_TOKEN})")
    parser.add_argument("--state", type=Path, metavar="FILE", help="keep people, chats and payments in this file")
    given = parser.parse_args(argv)
    return run(port=given.port, token=given.token, state=given.state)
