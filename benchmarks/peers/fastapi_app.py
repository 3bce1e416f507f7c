"""The architecture this project replaces: FastAPI, pydantic, SQLAlchemy async on asyncpg."""

import hmac
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Header, HTTPException, Response
from pydantic import BaseModel, Field
from sqlalchemy.ext.asyncio import AsyncConnection

from benchmarks.peers.ledger import connect, record_payment

logging.basicConfig(
    level=logging.INFO, format='{"time": "%(asctime)s", "level": "%(levelname)s", "event": "%(message)s"}'
)
logger = logging.getLogger("peer")
SECRET = os.environ["TELEGRAM_WEBHOOK_SECRET"].encode()
engine = connect(pool_size=10)


class User(BaseModel):
    id: int


class SuccessfulPayment(BaseModel):
    currency: str
    total_amount: int
    invoice_payload: str
    telegram_payment_charge_id: str
    provider_payment_charge_id: str


class Message(BaseModel):
    date: datetime
    sender: User = Field(alias="from")
    successful_payment: SuccessfulPayment | None = None


class Update(BaseModel):
    update_id: int
    message: Message | None = None


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    yield
    await engine.dispose()


async def database() -> AsyncIterator[AsyncConnection]:
    async with engine.connect() as connection:
        yield connection


app = FastAPI(lifespan=lifespan)


@app.post("/api/v1/telegram/webhook")
async def webhook(
    update: Update,
    db: Annotated[AsyncConnection, Depends(database)],
    x_telegram_bot_api_secret_token: Annotated[str, Header()],
) -> Response:
    if not hmac.compare_digest(x_telegram_bot_api_secret_token.encode(), SECRET):
        raise HTTPException(401)
    message = update.message
    if message is not None and message.successful_payment is not None:
        payment = message.successful_payment
        raw: dict[str, Any] = payment.model_dump()
        plan_code = payment.invoice_payload.partition(":")[0]
        recorded = await record_payment(
            db,
            charge_id=payment.telegram_payment_charge_id,
            user_id=message.sender.id,
            plan_code=plan_code,
            amount=payment.total_amount,
            currency=payment.currency,
            raw=raw,
            occurred_at=message.date,
        )
        logger.info(
            "payment recorded=%s user=%s plan=%s amount=%s",
            recorded,
            message.sender.id,
            plan_code,
            payment.total_amount,
        )
    return Response()
