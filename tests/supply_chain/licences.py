"""Under which licence each package is given, as its own metadata say, and whether we take it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

from tests.supply_chain.locks import REQUIREMENTS, Pin

ALLOWED = REQUIREMENTS / "licences.txt"
LONGEST_NAME = 60  # a longer one is the licence's whole text


class NotInstalled(Exception):
    """Nothing is known of a package that is not here, or in another version."""


def licence(pin: Pin) -> str:
    """An SPDX expression where the package gives one, else the name it gives; empty when it is silent.

    :raises NotInstalled:
    """
    try:
        told = metadata(pin.name)
    except PackageNotFoundError as error:
        raise NotInstalled(f"{pin.name} {pin.version} is not installed") from error
    if told["Version"] != pin.version:
        raise NotInstalled(f"{pin.name} is installed in version {told['Version']}, not {pin.version}")
    named = told["License-Expression"] or told["License"] or ""
    if is_spdx(named):
        return named
    classified = [each for each in told.get_all("Classifier", []) if each.startswith("License :: ")]
    if classified:
        return " AND ".join(each.rpartition(" :: ")[2] for each in classified)
    return named if len(named) <= LONGEST_NAME else ""


def is_spdx(expression: str) -> bool:
    try:
        canonicalize_license_expression(expression)
    except InvalidLicenseExpression:
        return False
    return True


def allowed(file: Path = ALLOWED) -> set[str]:
    """The names of the licences that we take."""
    lines = (line.partition("#")[0].strip() for line in file.read_text().splitlines())
    return {line for line in lines if line}


def is_allowed(expression: str, names: Iterable[str]) -> bool:
    """Whether one alternative has nothing but licences that we take. Parentheses are not understood, so not allowed."""
    names = set(names)
    return any(
        all(part.strip() in names for part in re.split(r"\bAND\b", alternative))
        for alternative in re.split(r"\bOR\b", expression)
    )


def faults(pins: Iterable[Pin], names: Iterable[str]) -> Iterator[str]:
    """The packages that we may not use, or do not know whether we may; each in a sentence."""
    names = set(names)
    for pin in pins:
        try:
            given = licence(pin)
        except NotInstalled as error:
            yield f"{error}: run `make install`."
            continue
        if not given:
            yield f"{pin.name} {pin.version} does not say under which licence it is given."
        elif not is_allowed(given, names):
            yield f"{pin.name} {pin.version} is given under {given}, which is not in requirements/licences.txt."
