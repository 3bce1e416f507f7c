"""Every mutant finds its place in the code as it is, and every test it names is there: `make mutants` runs them."""

import ast
import re
from pathlib import Path

import pytest

from config.env import BASE_DIR
from tests.mutants.mistakes import MUTANTS
from tests.mutants.mutant import Edit, LostItsPlace, Mutant
from tests.mutants.runner import NotGreen, control, copied, fates

KINDS = 39  # of mistakes


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
class TestEachMutant:
    def test_finds_its_place_and_is_still_python(self, mutant):
        for file, text in mutant.mutated(BASE_DIR).items():
            assert text != file.read_text()
            if file.suffix == ".py":
                compile(text, file, "exec")

    def test_names_tests_that_exist(self, mutant):
        for test in mutant.noticed_by:
            file, *names = re.sub(r"\[.*", "", test).split("::")
            body = ast.parse((BASE_DIR / file).read_text()).body
            for name in names:
                body = next(node.body for node in body if getattr(node, "name", "") == name)


def test_every_kind_of_mistake_is_made_and_no_name_used_twice():
    names = [mutant.name for mutant in MUTANTS]

    assert {re.sub("[a-z]$", "", name) for name in names} == {f"X{number}" for number in range(1, KINDS + 1)}
    assert len(names) == len(set(names))


@pytest.fixture
def project(tmp_path) -> Path:
    """A module of one line, and two tests of which one notices when it is wrong."""
    root = tmp_path / "project"
    root.mkdir()
    (root / "answer.py").write_text("ANSWER = 42\n")
    (root / "test_answer.py").write_text(
        "import answer\ndef test_is_known():\n    assert answer.ANSWER == 42\ndef test_is_there():\n    assert answer\n"
    )
    return root


def mutant(new: str = "ANSWER = 41", *, old: str = "ANSWER = 42", test: str = "test_is_known") -> Mutant:
    return Mutant("X1", "wrong", (Edit("answer.py", old, new),), (f"test_answer.py::{test}",))


class TestTheRun:
    @pytest.mark.parametrize(
        ("made", "killed_by", "words"),
        [
            (mutant(), "test_answer.py::test_is_known", "assert 41 == 42"),
            (mutant(test="test_is_there"), "", "SURVIVED"),
            (mutant(old="ANSWER = 43"), "", "NOT TRIED: answer.py has 0 places that read: ANSWER = 43"),
            (mutant(new="ANSWER = unknown"), "", "NO TEST RAN"),
        ],
        ids=["noticed", "unnoticed", "lost", "broken"],
    )
    def test_tells_what_became_of_a_mutant(self, project, tmp_path, made, killed_by, words):
        copy = copied(project, into=tmp_path)

        (fate,) = fates(copy, [made])

        assert fate.killed_by == killed_by
        assert fate.words.startswith(words)
        assert (copy / "answer.py").read_text() == (project / "answer.py").read_text() == "ANSWER = 42\n"

    def test_needs_tests_that_are_green_without_a_mistake(self, project):
        control(project, [mutant()])
        (project / "answer.py").write_text("ANSWER = 0\n")

        with pytest.raises(NotGreen, match="test_is_known"):
            control(project, [mutant()])

    def test_makes_several_edits_of_one_file_together(self, project):
        both = Mutant("X1", "wrong", (Edit("answer.py", "ANSWER", "QUESTION"), Edit("answer.py", "42", "41")), ())

        with both.made_in(project):
            assert (project / "answer.py").read_text() == "QUESTION = 41\n"

    def test_changes_nothing_when_one_place_of_several_is_lost(self, project):
        half = Mutant("X1", "wrong", (Edit("answer.py", "42", "41"), Edit("nowhere.py", "42", "41")), ())

        with pytest.raises(LostItsPlace, match=r"nowhere\.py"), half.made_in(project):
            pass

        assert (project / "answer.py").read_text() == "ANSWER = 42\n"
