from tests.payments.conftest import telegram

__all__ = ["telegram"]
