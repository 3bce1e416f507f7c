"""Who a customer is: first met in Telegram, or named by a host's token, or both."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from django.db import IntegrityError, transaction
from django.db.models import Q

from config.database import retried
from entitlements.models import Customer, UserIdOrigin

TRIES = 3
LONGEST_LANGUAGE_CODE = 16


class IdentityDisagrees(Exception):
    """A token's `sub` and `telegram_user_id` do not name one and the same customer."""


def customer_by_user_id(user_id: str) -> Customer | None:
    """A user_id that PostgreSQL cannot hold is nobody's."""
    return None if "\x00" in user_id else Customer.objects.filter(user_id=user_id).first()


@retried
def customer_by_name(user_id: str) -> Customer:
    """The customer a trusted program names by his user_id; an unknown one becomes a customer."""
    customer, _ = Customer.objects.get_or_create(user_id=user_id, defaults={"user_id_origin": UserIdOrigin.HOST})
    return customer


@retried
def customer_from_telegram(
    *, telegram_user_id: int, display_name: str = "", username: str = "", language_code: str = ""
) -> Customer:
    """The customer of a Telegram account, made when first met, with the names Telegram gives him now.

    Without a `display_name`, which every account has, nothing is known of his names and they stay.
    """
    names = {
        "display_name": storable(display_name),
        "username": storable(username),
        "language_code": storable(language_code)[:LONGEST_LANGUAGE_CODE],
    }
    customer = Customer.objects.filter(telegram_user_id=telegram_user_id).first()
    if customer is None:
        return _first_met_in_telegram(telegram_user_id, names)
    changed = {name: value for name, value in names.items() if getattr(customer, name) != value}
    if display_name and changed:
        for name, value in changed.items():
            setattr(customer, name, value)
        customer.save(update_fields=list(changed))
    return customer


def _first_met_in_telegram(telegram_user_id: int, names: dict[str, str]) -> Customer:
    ours = {"user_id": str(telegram_user_id), "user_id_origin": UserIdOrigin.OURS}
    try:
        customer, _ = Customer.objects.get_or_create(telegram_user_id=telegram_user_id, defaults=ours | names)
    except IntegrityError:
        # A host numbers its users, and one of them has this number. It is not this person, whose money must find a
        # customer all the same.
        other = {"user_id": f"telegram:{telegram_user_id}", "user_id_origin": UserIdOrigin.HOST}
        customer, _ = Customer.objects.get_or_create(telegram_user_id=telegram_user_id, defaults=other | names)
    return customer


@retried
def customer_for_token(*, sub: str, telegram_user_id: int | None) -> Customer:
    """The customer a valid token names; an unknown `sub` becomes one.

    A customer first met in Telegram gets the `sub` of the first token that names his account as his user_id, once.

    :raises IdentityDisagrees: when the two ids are not, and cannot become, those of one customer
    """
    for _ in range(TRIES):
        named, met = _known_by(sub, telegram_user_id)
        if named is not None and agree(named, telegram_user_id):
            return named
        try:
            with transaction.atomic():
                customer = _become(named, met, sub, telegram_user_id)
        except IntegrityError:
            continue  # another request was faster: look again
        if customer is not None:
            return customer
    raise IdentityDisagrees


def _known_by(sub: str, telegram_user_id: int | None) -> tuple[Customer | None, Customer | None]:
    """The customer with this user_id and the one with that account, as of one moment."""
    either = Q(user_id=sub)
    if telegram_user_id is not None:
        either |= Q(telegram_user_id=telegram_user_id)
    known = list(Customer.objects.filter(either))
    named = next((each for each in known if each.user_id == sub), None)
    met = next((each for each in known if each.telegram_user_id == telegram_user_id is not None), None)
    return named, met


class Identity(Protocol):
    """What of a customer decides whether a token names him."""

    @property
    def user_id_origin(self) -> str: ...
    @property
    def telegram_user_id(self) -> int | None: ...
    @property
    def blocked_at(self) -> datetime | None: ...


def agree(customer: Identity, telegram_user_id: int | None) -> bool:
    """Whether a token with this customer's user_id and that Telegram account names him as he is.

    A user_id of ours is guessable, so it counts only with the account beside it.
    """
    if telegram_user_id is None:
        return customer.user_id_origin == UserIdOrigin.HOST
    return customer.telegram_user_id == telegram_user_id


def _become(named: Customer | None, met: Customer | None, sub: str, telegram_user_id: int | None) -> Customer | None:
    """Make a new customer, give one the other id, or refuse; None when a concurrent request changed him."""
    if named is None and met is None:
        return Customer.objects.create(user_id=sub, telegram_user_id=telegram_user_id, user_id_origin=UserIdOrigin.HOST)
    if named is None and met is not None and met.user_id_origin == UserIdOrigin.OURS:
        named_now: dict[str, object] = {"user_id": sub, "user_id_origin": UserIdOrigin.HOST}
        return _changed(met, {"user_id_origin": UserIdOrigin.OURS}, named_now)
    if named is not None and met is None and named.telegram_user_id is None and telegram_user_id is not None:
        return _changed(named, {"telegram_user_id__isnull": True}, {"telegram_user_id": telegram_user_id})
    raise IdentityDisagrees


def _changed(customer: Customer, still: dict[str, object], values: dict[str, object]) -> Customer | None:
    if not Customer.objects.filter(pk=customer.pk, **still).update(**values):
        return None
    customer.refresh_from_db()
    return customer


def storable(text: str) -> str:
    """The text without what PostgreSQL cannot hold: NUL and lone surrogates become replacement characters."""
    return text.replace("\x00", "\ufffd").encode(errors="surrogatepass").decode(errors="replace")
