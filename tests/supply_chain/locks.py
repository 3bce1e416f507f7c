"""The locks in requirements/, as `make lock` writes them, and whether they are what they should be."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REQUIREMENTS = Path(__file__).resolve().parents[2] / "requirements"
PRODUCTION, EVERYTHING = "prod", ("base", "prod", "dev", "embedded-db")

ENTRY = re.compile(r"^(?![\s#])(?P<line>.*(?:\n[ \t]+.*)*)", re.MULTILINE)
PIN = re.compile(
    r"(?P<name>[A-Za-z0-9._-]+)(?:\[[^]]*\])?==(?P<version>[^\s;\\]+)"
    r"(?:[ \t]*;[ \t]*(?P<marker>[^\\\n]+?))?[ \t]*(?:\\|$)",
    re.MULTILINE,
)
HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})(?=\s|$)")
VIA = re.compile(r"^[ \t]+#[ \t]+(?:via[ \t]+)?(?P<who>\S.*?)[ \t]*$", re.MULTILINE)


class NotAPin(Exception):
    """A line of a lock that installs something else than one version by its hashes."""


@dataclass(frozen=True, slots=True)
class Pin:
    """One version of a package. `asked_by` are packages, or files as in `-r requirements/base.in`."""

    name: str
    version: str
    marker: str
    hashes: tuple[str, ...]
    asked_by: tuple[str, ...]

    @property
    def is_for_here(self) -> bool:
        """Whether this Python on this system needs it."""
        return not self.marker or Marker(self.marker).evaluate()


def pins(lock: Path) -> list[Pin]:
    """
    :raises NotAPin: with the first line that is none
    """
    return [_pin(entry["line"]) for entry in ENTRY.finditer(lock.read_text()) if entry["line"].strip()]


def _pin(entry: str) -> Pin:
    found = PIN.match(entry)
    if found is None:
        raise NotAPin(entry.splitlines()[0])
    return Pin(
        name=canonicalize_name(found["name"]),
        version=found["version"],
        marker=found["marker"] or "",
        hashes=tuple(HASH.findall(entry)),
        asked_by=tuple(who["who"] for who in VIA.finditer(entry) if who["who"] != "via"),
    )


def asked_for(file: Path) -> Iterator[Requirement]:
    """What a file of ours asks for, with the files that it includes."""
    for line in file.read_text().splitlines():
        line = line.partition("#")[0].strip()
        if line.startswith("-r "):
            yield from asked_for(file.parent / line.removeprefix("-r ").strip())
        elif line:
            yield Requirement(line)


def faults(requirements: Path = REQUIREMENTS) -> Iterator[str]:
    """What is wrong with the locks, as far as it shows without asking an index; each in a sentence."""
    locked = {}
    for name in EVERYTHING:
        try:
            locked[name] = pins(requirements / f"{name}.txt")
        except NotAPin as error:
            yield f"{name}.txt: “{error}” is not one version of a package. Locks are written by `make lock`."
            continue
        yield from (
            f"{name}.txt: {pin.name} {pin.version} has no hash, so that anything could be installed in its place."
            for pin in locked[name]
            if not pin.hashes
        )
        yield from _differs_from_what_was_asked_for(name, list(asked_for(requirements / f"{name}.in")), locked[name])
    for name in ("prod", "dev"):
        yield from _differs_from_base(name, locked)


def _differs_from_what_was_asked_for(name: str, asked: list[Requirement], locked: list[Pin]) -> Iterator[str]:
    wanted = {canonicalize_name(requirement.name) for requirement in asked}
    for requirement in asked:
        versions = [pin.version for pin in locked if pin.name == canonicalize_name(requirement.name)]
        if not versions:
            yield f"{name}.txt lacks {requirement.name}, which {name}.in asks for: run `make lock`."
        yield from (
            f"{name}.txt has {requirement.name} {version}, and {name}.in asks for {requirement}: run `make lock`."
            for version in versions
            if not requirement.specifier.contains(version, prereleases=True)
        )
    for pin in locked:
        by_us = [who for who in pin.asked_by if who.startswith("-r ")]
        if by_us and pin.name not in wanted:
            yield f"{name}.txt has {pin.name} for {by_us[0]}, which does not ask for it any more: run `make lock`."
        unknown = {canonicalize_name(who) for who in pin.asked_by if not who.startswith("-")} - {
            one.name for one in locked
        }
        if unknown:
            yield f"{name}.txt has {pin.name} for {', '.join(sorted(unknown))}, which it lacks: run `make lock`."


def _differs_from_base(name: str, locked: dict[str, list[Pin]]) -> Iterator[str]:
    if "base" not in locked or name not in locked:
        return
    there = {(pin.name, pin.version, pin.marker): pin.hashes for pin in locked[name]}
    for pin in locked["base"]:
        if there.get((pin.name, pin.version, pin.marker)) != pin.hashes:
            yield f"{name}.txt differs from base.txt in {pin.name} {pin.version}: run `make lock`."
