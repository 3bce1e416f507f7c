from django.apps import AppConfig


class PaymentsConfig(AppConfig):
    name = "payments"

    def ready(self) -> None:
        from config.metrics import read_from_the_books
        from payments.metrics import PaymentBooks

        read_from_the_books(PaymentBooks())
