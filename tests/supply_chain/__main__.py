"""`python -m tests.supply_chain locks|licences|sbom|vulnerabilities`: ends with 0 all well, 1 not so, 2 not known."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Sequence

from tests.supply_chain import licences, locks, sbom, vulnerabilities
from tests.supply_chain.locks import EVERYTHING, PRODUCTION, REQUIREMENTS, Pin


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.supply_chain", description=__doc__)
    what = parser.add_subparsers(dest="what", required=True)
    what.add_parser("locks", help="whether the locks have hashes and are those of what is asked for")
    listing = what.add_parser("licences", help="whether every package is given under a licence that we take")
    listing.add_argument("--list", action="store_true", help="tell each package's licence")
    what.add_parser("sbom", help="what production installs, as CycloneDX JSON")
    asking = what.add_parser("vulnerabilities", help="what is known against the packages, asked at osv.dev")
    asking.add_argument("--address", default=vulnerabilities.OSV, help="another one that answers like %(default)s")
    given = parser.parse_args(arguments)
    if given.what == "locks":
        return _tell(locks.faults())
    if given.what == "licences":
        return _licences(listed=given.list)
    if given.what == "sbom":
        sys.stdout.write(json.dumps(sbom.bill(_pins([PRODUCTION])), indent=1) + "\n")
        return 0
    return _vulnerabilities(given.address)


def _licences(*, listed: bool) -> int:
    here = [pin for pin in _pins(EVERYTHING) if pin.is_for_here]
    faults = list(licences.faults(here, licences.allowed()))
    if listed and not faults:
        sys.stdout.writelines(f"{pin.name:<32}{pin.version:<20}{licences.licence(pin)}\n" for pin in here)
    return _tell(faults)


def _vulnerabilities(address: str) -> int:
    pins = _pins(EVERYTHING)
    try:
        known = vulnerabilities.known_of(pins, address=address)
    except vulnerabilities.CannotAsk as error:
        sys.stderr.write(f"{error}\nThis needs a network. Nothing is known, neither good nor bad.\n")
        return 2
    production = {(pin.name, pin.version) for pin in _pins([PRODUCTION])}
    for one in known:
        where = "production" if (one.pin.name, one.pin.version) in production else "development only"
        sys.stdout.write(f"{one.pin.name} {one.pin.version} ({where}): {', '.join(one.ids)}\n")
    if not known:
        sys.stdout.write(f"Nothing is known against the {len(pins)} packages.\n")
    return 1 if known else 0


def _pins(names: Sequence[str]) -> list[Pin]:
    """Of these locks, each version once."""
    found: dict[tuple[str, str], Pin] = {}
    for name in names:
        for pin in locks.pins(REQUIREMENTS / f"{name}.txt"):
            found.setdefault((pin.name, pin.version), pin)
    return sorted(found.values(), key=lambda pin: (pin.name, pin.version))


def _tell(faults: Iterable[str]) -> int:
    lines = [f"{fault}\n" for fault in faults]
    sys.stderr.writelines(lines)
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
