"""Where requests come from, also through proxies.

Each proxy appends to X-Forwarded-For the address it was reached from, and before that anybody may have written what
he likes. So the header is read from its end, and no further than the proxies of `TRUSTED_PROXIES` reach.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from django.conf import settings
from django.http import HttpRequest

UNIX = "unix"  # names, among networks, whoever reaches us through a socket of the file system
HOUSEHOLD = 64  # bits of an IPv6 address; providers give all addresses that share them to one customer


def address_of(request: HttpRequest) -> str:
    """The client's IP address, IPv4 never mapped into IPv6; empty when it came through a Unix socket.

    Where a trusted proxy wrote something else than an address, it is the proxy's own.
    """
    address = _address_in(request.META.get("REMOTE_ADDR", "")) or ""
    for hop in reversed(request.META.get("HTTP_X_FORWARDED_FOR", "").split(",")):
        if not is_in(settings.TRUSTED_PROXIES, address) or not (told := _address_in(hop)):
            break
        address = told
    return address


def household_of(request: HttpRequest) -> str:
    """What limits count by: the address, or the network of those that an IPv6 client can change between at will."""
    address = address_of(request)
    return str(IPv6Network((address, HOUSEHOLD), strict=False)) if ":" in address else address


def is_in(networks: Sequence[str], address: str) -> bool:
    """Whether an address, as `address_of` has it, is in one of the networks."""
    if not address:
        return UNIX in networks
    return any(ip_address(address) in network for network in _networks(tuple(networks)))


@cache
def _networks(networks: tuple[str, ...]) -> list[IPv4Network | IPv6Network]:
    return [ip_network(network) for network in networks if network != UNIX]


def _address_in(text: str) -> str | None:
    """The address in `192.0.2.1`, `192.0.2.1:443`, `2001:db8::1` or `[2001:db8::1]:443`, all of which proxies write."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return str(getattr(address, "ipv4_mapped", None) or address)
