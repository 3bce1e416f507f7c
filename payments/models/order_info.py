"""What buyers tell about themselves with a payment: personal data, beside the ledger and not in it."""

from __future__ import annotations

import pgtrigger
from django.db import models
from django.db.models import Q

from payments.models.ledger import PaymentEvent

NOTHING = {"name": "", "phone_number": "", "email": ""}


class OrderInfo(models.Model):
    """What the buyer entered where the plan asks for it. Erasing it leaves the row, with nothing but when that was, so
    that the same report brought again does not bring it back.
    """

    event = models.OneToOneField(PaymentEvent, on_delete=models.PROTECT, primary_key=True, related_name="order_info")
    name = models.TextField(blank=True, default="")
    phone_number = models.TextField(blank=True, default="")
    email = models.TextField(blank=True, default="")
    erased_at = models.DateTimeField(null=True)

    class Meta:
        verbose_name_plural = "order info"
        permissions = [("erase_orderinfo", "Can erase what a buyer told about himself")]
        constraints = [
            models.CheckConstraint(name="order_info_erased_whole", condition=Q(erased_at__isnull=True) | Q(**NOTHING)),
        ]
        triggers = [
            pgtrigger.Protect(
                name="order_info_stays_erased",
                operation=pgtrigger.Update,
                condition=pgtrigger.Condition("OLD.erased_at IS NOT NULL"),
            ),
            pgtrigger.Protect(name="order_info_never_deleted", operation=pgtrigger.Delete),
        ]

    def __str__(self) -> str:
        return f"order info of {self.event_id}"
