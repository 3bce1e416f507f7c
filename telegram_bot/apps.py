from django.apps import AppConfig


class TelegramBotConfig(AppConfig):
    name = "telegram_bot"
    verbose_name = "Telegram"

    def ready(self) -> None:
        from config.health import watch_backlog
        from config.metrics import read_from_the_books
        from telegram_bot import checks  # noqa: F401 - they register themselves
        from telegram_bot.metrics import Inbox, inbox_oldest_seconds

        read_from_the_books(Inbox())
        watch_backlog("updates", inbox_oldest_seconds)
