"""What is known against the packages that we lock, asked at osv.dev."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterable
from dataclasses import dataclass

from tests.supply_chain.locks import Pin

OSV = "https://api.osv.dev"
SECONDS = 30


class CannotAsk(Exception):
    """The database of vulnerabilities did not answer as it should: nothing is known, neither good nor bad."""


@dataclass(frozen=True, slots=True)
class Known:
    """`ids` as at https://osv.dev/vulnerability/<id>."""

    pin: Pin
    ids: tuple[str, ...]


def known_of(pins: Iterable[Pin], *, address: str = OSV) -> list[Known]:
    """The packages of which vulnerabilities are known.

    :raises CannotAsk:
    """
    pins = list(pins)
    queries = [{"package": {"ecosystem": "PyPI", "name": pin.name}, "version": pin.version} for pin in pins]
    request = urllib.request.Request(  # noqa: S310 - the address is ours, or that of a mirror that was named
        f"{address}/v1/querybatch",
        data=json.dumps({"queries": queries}).encode(),
        headers={"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=SECONDS) as response:  # noqa: S310
            results = json.load(response)["results"]
        found = [tuple(one["id"] for one in result.get("vulns", ())) for result in results]
        return [Known(pin, ids) for pin, ids in zip(pins, found, strict=True) if ids]
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise CannotAsk(f"{address} cannot be asked: {error}") from error
