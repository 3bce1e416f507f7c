"""The bill of materials: all that production installs, in CycloneDX 1.6 JSON. The same locks make the same bill."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable
from typing import Any

from packaging.licenses import canonicalize_license_expression
from packaging.utils import canonicalize_name

from tests.supply_chain.licences import NotInstalled, is_spdx, licence
from tests.supply_chain.locks import Pin

ROOT = "starledger"
OURS = uuid.UUID("6f6a0a5e-6d0c-4c0e-9f0e-5b7d6a1c2e34")  # the space of our serial numbers


def bill(pins: Iterable[Pin]) -> dict[str, Any]:
    """
    :param pins: of a lock, those for other systems included
    """
    pins = list(pins)
    parts = {_reference(pin): _component(pin) for pin in pins}
    content = {
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": ROOT,
                "name": ROOT,
                "licenses": [{"license": {"id": "MIT"}}],
            }
        },
        "components": list(parts.values()),
        "dependencies": _dependencies(pins),
    }
    serial = uuid.uuid5(OURS, json.dumps(content, sort_keys=True))
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": serial.urn,
        "version": 1,
        **content,
    }


def _reference(pin: Pin) -> str:
    """Its package URL, by which other programs know it."""
    return f"pkg:pypi/{pin.name}@{pin.version}"


def _component(pin: Pin) -> dict[str, Any]:
    """One package, with the digests of all files that may be installed as it."""
    component: dict[str, Any] = {
        "type": "library",
        "bom-ref": _reference(pin),
        "name": pin.name,
        "version": pin.version,
        "purl": _reference(pin),
        "scope": "required" if not pin.marker else "optional",
        "hashes": [{"alg": "SHA-256", "content": each} for each in pin.hashes],
    }
    if pin.marker:
        component["properties"] = [{"name": "python:marker", "value": pin.marker}]
    try:
        given = licence(pin)
    except NotInstalled:  # for another system
        given = ""
    return component | ({"licenses": [_licence(given)]} if given else {})


def _licence(given: str) -> dict[str, Any]:
    if is_spdx(given):
        return {"expression": canonicalize_license_expression(given)}
    return {"license": {"name": given}}


def _dependencies(pins: list[Pin]) -> list[dict[str, Any]]:
    asks: dict[str, list[str]] = {ROOT: []}
    for pin in pins:
        asks.setdefault(pin.name, [])
        for who in pin.asked_by:
            by_us = who.startswith("-r ")
            if by_us or not who.startswith("-"):
                asks.setdefault(ROOT if by_us else canonicalize_name(who), []).append(_reference(pin))
    references = {ROOT: [ROOT]}
    for pin in pins:
        references.setdefault(pin.name, []).append(_reference(pin))
    return [
        {"ref": reference, "dependsOn": sorted(set(asked))}
        for name, asked in asks.items()
        for reference in references.get(name, [])
    ]
