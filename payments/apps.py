from django.apps import AppConfig


class PaymentsConfig(AppConfig):
    name = "payments"

    def ready(self) -> None:
        from config.health import watch_backlog
        from config.metrics import read_from_the_books
        from payments import checks  # noqa: F401 - they register themselves
        from payments.metrics import PaymentBooks
        from payments.stripe.metrics import StripeBooks, oldest_seconds

        read_from_the_books(PaymentBooks())
        read_from_the_books(StripeBooks())
        watch_backlog("events of Stripe", oldest_seconds)
