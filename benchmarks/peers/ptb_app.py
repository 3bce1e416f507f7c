"""python-telegram-bot's own webhook server: it answers 200 when the update is queued, and works afterwards."""

import logging
import os
import sys

import uvloop
from telegram import Update
from telegram.ext import Application, ContextTypes, MessageHandler, filters

from benchmarks.peers.ledger import connect, record_payment

CONCURRENT_UPDATES = 16

logging.basicConfig(
    level=logging.INFO, format='{"time": "%(asctime)s", "level": "%(levelname)s", "event": "%(message)s"}'
)
logging.getLogger("httpx").setLevel(logging.WARNING)
logger = logging.getLogger("peer")
engine = connect(pool_size=CONCURRENT_UPDATES)


async def on_payment(update: Update, _: ContextTypes.DEFAULT_TYPE) -> None:
    message = update.effective_message
    assert message is not None and message.successful_payment is not None and message.from_user is not None  # noqa: PT018
    payment = message.successful_payment
    plan_code = payment.invoice_payload.partition(":")[0]
    async with engine.connect() as connection:
        recorded = await record_payment(
            connection,
            charge_id=payment.telegram_payment_charge_id,
            user_id=message.from_user.id,
            plan_code=plan_code,
            amount=payment.total_amount,
            currency=payment.currency,
            raw=payment.to_dict(),
            occurred_at=message.date,
        )
    logger.info(
        "payment recorded=%s user=%s plan=%s amount=%s", recorded, message.from_user.id, plan_code, payment.total_amount
    )


def main(port: int) -> None:
    uvloop.install()
    application = (
        Application.builder()
        .token(os.environ["TELEGRAM_BOT_TOKEN"])
        .base_url(os.environ["TELEGRAM_API_BASE_URL"] + "/bot")
        .concurrent_updates(CONCURRENT_UPDATES)
        .build()
    )
    application.add_handler(MessageHandler(filters.SUCCESSFUL_PAYMENT, on_payment))
    application.run_webhook(
        listen="127.0.0.1",
        port=port,
        url_path="api/v1/telegram/webhook",
        secret_token=os.environ["TELEGRAM_WEBHOOK_SECRET"],
        webhook_url=f"https://127.0.0.1:{port}/api/v1/telegram/webhook",
    )


if __name__ == "__main__":
    main(int(sys.argv[1]))
