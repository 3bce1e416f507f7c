"""Takes names, types and what is required out of a description of the Bot API, and leaves the prose.

    python -m telegram_bot.sandbox.distil described-bot-api.json > telegram_bot/sandbox/bot_api.json

A field is ``"name": "Integer | String"``, or ``"name?": …`` when it may be left out.
"""

import json
import sys
from pathlib import Path
from typing import Any


def distil(described: dict[str, Any]) -> dict[str, Any]:
    types = described["types"]
    unions = {name: forms for name, entry in types.items() if (forms := _forms(entry, known=types))}
    return {
        "version": described["version"],
        "methods": {name: _fields(entry) for name, entry in described["methods"].items()},
        "types": {name: _fields(entry) for name, entry in types.items() if name not in unions},
        "unions": unions,
    }


def _fields(entry: dict[str, Any]) -> dict[str, str]:
    return {
        field["name"] + ("" if field["required"] else "?"): " | ".join(field["types"])
        for field in entry.get("fields", [])
    }


def _forms(entry: dict[str, Any], known: dict[str, Any]) -> list[str]:
    """What a type without fields may be: some descriptions list it as data, some only as lines of prose."""
    if entry.get("fields"):
        return []
    listed = [line[3:] for line in entry["description"] if line.startswith(" - ")]
    return list(dict.fromkeys([*entry.get("subtypes", []), *(name for name in listed if name in known)]))


def written(sections: dict[str, Any]) -> str:
    """One method or type a line: small, and a change of the Bot API is still a readable diff."""
    parts = [f'"version": {json.dumps(sections["version"])}']
    for title in ("methods", "types", "unions"):
        lines = (f"{json.dumps(name)}: {json.dumps(entry)}" for name, entry in sections[title].items())
        parts.append(f'"{title}": {{\n' + ",\n".join(lines) + "\n}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def main() -> None:
    described = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    sys.stdout.write(written(distil(described)))


if __name__ == "__main__":
    main()
