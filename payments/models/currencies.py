"""What Telegram takes through its payment providers, currency by currency, as its table last said."""

from __future__ import annotations

from django.db import models
from django.db.models import Q


class TelegramCurrency(models.Model):
    """A row of Telegram's table of currencies. Its limits follow the rates of exchange: `refresh_currencies` reads it
    anew. While there are no rows, the table that comes with the release holds.
    """

    code = models.CharField(max_length=3, primary_key=True)
    least = models.BigIntegerField(null=True, help_text="In the currency's smallest unit; empty: not known.")
    most = models.BigIntegerField(null=True, help_text="In the currency's smallest unit; empty: not known.")
    read_at = models.DateTimeField()

    class Meta:
        ordering = ["code"]
        verbose_name_plural = "Telegram currencies"
        constraints = [
            models.CheckConstraint(name="telegram_currency_code", condition=Q(code__regex=r"^[A-Z]{3}$")),
            models.CheckConstraint(
                name="telegram_currency_range",
                condition=Q(least__isnull=True, most__isnull=True) | Q(least__gt=0, most__gte=models.F("least")),
            ),
        ]

    def __str__(self) -> str:
        return self.code
