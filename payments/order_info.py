"""What buyers told about themselves, erased on request: the ledger stays as it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now
from django.utils.module_loading import import_string

from config.database import retried
from entitlements import audit
from payments.models import OrderInfo, PaymentEvent
from payments.models.order_info import NOTHING

if TYPE_CHECKING:
    from django.contrib.auth.models import User

PERMISSION = "payments.erase_orderinfo"
ERASED = "erased what the buyer told about himself"


class NothingToErase(Exception):
    """Nothing was told, or somebody was first."""

    def __init__(self) -> None:
        super().__init__("There is nothing to erase: nothing was told, or it is erased already.")


@retried
@transaction.atomic
def erase(*, payment: PaymentEvent, staff: User, reason: str) -> None:
    """Erase it for good, wherever the house has it. What was paid, and for what, stays.

    :raises PermissionDenied: this person may not
    :raises audit.ReasonMissing: no reason is given
    :raises NothingToErase: nothing was told, or somebody was first
    """
    reason = audit.authorised(staff=staff, permission=PERMISSION, reason=reason)
    if not OrderInfo.objects.filter(event=payment, erased_at=None).update(**NOTHING, erased_at=Now()):
        raise NothingToErase
    for path in settings.ORDER_INFO_ERASERS:
        cast(Callable[[PaymentEvent], object], import_string(path))(payment)
    audit.record(staff=staff, what=ERASED, subject=payment, reason=reason, customer=payment.customer)
