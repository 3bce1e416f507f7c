"""The local Stripe as a program: `python -m payments.sandbox --secret-key sk_test_… --webhook URL`."""

from __future__ import annotations

import argparse
import signal
import sys
import threading

from payments.sandbox.server import LocalStripe


def main() -> int:
    parser = argparse.ArgumentParser(prog="payments.sandbox", description="A local Stripe, for development.")
    parser.add_argument("--port", type=int, default=8082, help="of 127.0.0.1 (8082); 0: a free one")
    parser.add_argument("--secret-key", required=True, help="the shop's, STRIPE_SECRET_KEY")
    parser.add_argument("--webhook", default="", help="where events go, like http://127.0.0.1:8000/webhook/stripe")
    parser.add_argument("--webhook-secret", default="", help="STRIPE_WEBHOOK_SECRET")
    given = parser.parse_args()
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    try:
        local = LocalStripe(
            secret_key=given.secret_key, port=given.port, webhook=given.webhook, webhook_secret=given.webhook_secret
        )
    except OSError as error:
        sys.stderr.write(f"Port {given.port} of 127.0.0.1 cannot be used: {error.strerror}.\n")
        return 1
    local.start()
    sys.stdout.write(f"The local Stripe is at {local.address}\n")
    sys.stdout.flush()
    stopped.wait()
    local.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
