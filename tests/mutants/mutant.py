"""A mistake made on purpose: which words of which file become which others, and the tests that must notice."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path


class LostItsPlace(Exception):
    """The words to replace are not there exactly once: the code has moved on, and the mutant must follow it."""


@dataclass(frozen=True, slots=True)
class Edit:
    """In `file`, a path from the root of the project, `old` stands exactly once and becomes `new`."""

    file: str
    old: str
    new: str

    def applied_to(self, text: str) -> str:
        """The text of the file with the mistake in it.

        :raises LostItsPlace: there is not one such place but none, or several
        """
        places = text.count(self.old)
        if places != 1:
            message = f"{self.file} has {places} places that read: {self.old.strip()}"
            raise LostItsPlace(message)
        return text.replace(self.old, self.new)


@dataclass(frozen=True, slots=True)
class Mutant:
    """`name` is its number in the list of mistakes, with a letter where one is made in several ways; `mistake` says
    what is wrong; `noticed_by` names tests as pytest does, of which at least one must fail.
    """

    name: str
    mistake: str
    edits: tuple[Edit, ...]
    noticed_by: tuple[str, ...]

    def mutated(self, root: Path) -> dict[Path, str]:
        """The files of the project that stands there, as they read with the mistake.

        :raises LostItsPlace: one of its places is gone
        """
        texts: dict[Path, str] = {}
        for edit in self.edits:
            file = root / edit.file
            before = texts.get(file) or (file.read_text() if file.exists() else "")
            texts[file] = edit.applied_to(before)
        return texts

    @contextmanager
    def made_in(self, root: Path) -> Iterator[None]:
        """Make the mistake there, and take it back in the end.

        :raises LostItsPlace: before anything is changed
        """
        with ExitStack() as restored:
            for file, text in self.mutated(root).items():
                restored.enter_context(_rewritten(file, text))
            yield


@contextmanager
def _rewritten(file: Path, text: str) -> Iterator[None]:
    before, times = file.read_text(), (file.stat().st_atime_ns, file.stat().st_mtime_ns)
    file.write_text(text)
    try:
        yield
    finally:
        file.write_text(before)
        os.utime(file, ns=times)  # what was compiled of it holds again
