"""deploy/observability and docs/runbook.md are true: of metrics that there are, of alerts that fire, of what to do."""

import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from config.env import BASE_DIR
from config.health import LONGEST_WAIT
from payments import invariants
from payments.doctor import LATEST_CHECK, LONGEST_TURN
from payments.reconciling import BEHIND
from telegram_bot.webhook_watch import MOST_PENDING
from tests.config.test_readme import COMMANDS, VARIABLES
from tests.payments.test_metrics import PROMISED
from tests.promtool import promtool

HERE = BASE_DIR / "deploy" / "observability"
RULES = {
    rule["alert"]: rule
    for group in yaml.safe_load((HERE / "rules.yml").read_text())["groups"]
    for rule in group["rules"]
}
TESTS = [
    test
    for name in ("rules_test.yml", "rules_week_test.yml")
    for test in yaml.safe_load((HERE / name).read_text())["tests"]
]
DASHBOARD = json.loads((HERE / "dashboard.json").read_text())
PANELS = DASHBOARD["panels"]
RUNBOOK = (BASE_DIR / "docs" / "runbook.md").read_text()
PARAGRAPHS = dict(re.findall(r"^### (\w+)\n\n(.*?)(?=^##|\Z)", RUNBOOK, re.MULTILINE | re.DOTALL))

METRIC = re.compile(r"\b((?:telegram|starledger|entitlement)_\w+)(?:\{([^}]*)\})?")
OF_A_HISTOGRAM = re.compile(r"_(?:bucket|sum|count)$")
OF_EVERY_TARGET = {"instance", "job"}


def queries() -> list[str]:
    of_panels = [target["expr"] for panel in PANELS for target in panel.get("targets", ())]
    return [rule["expr"] for rule in RULES.values()] + of_panels


def metrics_in(query: str) -> dict[str, set[str]]:
    """The metrics of a query by their names, each with the labels it is selected by."""
    found: dict[str, set[str]] = {}
    for name, matchers in METRIC.findall(query):
        labels = set(re.findall(r"(\w+)\s*[=!]~?", matchers)) - {"le"}
        base = OF_A_HISTOGRAM.sub("", name)
        found.setdefault(base if base in PROMISED else name, set()).update(labels)
    return found


class TestTheAlerts:
    def test_satisfy_promtool(self):
        assert promtool("check", "rules", str(HERE / "rules.yml"))[0] == 0
        assert promtool("check", "config", "--syntax-only", str(HERE / "prometheus.yml"))[0] == 0

    def test_fire_when_they_should_and_not_else(self):
        code, said = promtool("test", "rules", str(HERE / "rules_test.yml"), str(HERE / "rules_week_test.yml"))

        assert code == 0, said

    @pytest.mark.parametrize("alert", RULES)
    def test_are_each_tested_firing_and_not(self, alert):
        outcomes = {
            alert in {name for sample in case.get("exp_samples", ()) for name in names_of(sample["labels"])}
            for test in TESTS
            if alert in test["name"]
            for case in test["promql_expr_test"]
        }

        assert outcomes == {True, False}

    @pytest.mark.parametrize(("alert", "rule"), RULES.items())
    def test_say_how_grave_it_is_and_what_to_do(self, alert, rule):
        assert rule["labels"]["severity"] in {"critical", "warning"}
        said = rule["annotations"]
        assert set(said) == {"summary", "description", "runbook_url"}
        assert not said["summary"].endswith(".")
        assert said["description"].endswith((".", "?"))
        assert said["runbook_url"] == f"docs/runbook.md#{alert.lower()}"

    @pytest.mark.parametrize(
        ("alert", "limit"),
        [
            ("StarledgerUpdatesWaitAtTelegram", MOST_PENDING),
            ("StarledgerInboxBehind", LONGEST_WAIT),
            ("StarledgerJobsBehind", LONGEST_WAIT),
            ("StarledgerReconciliationBehind", BEHIND.total_seconds()),
            ("StarledgerBooksNotChecked", LATEST_CHECK.total_seconds()),
            ("StarledgerBooksCheckUnfinished", LONGEST_TURN.total_seconds()),
        ],
    )
    def test_have_the_limits_of_doctor_and_readyz(self, alert, limit):
        assert RULES[alert]["expr"].endswith(f" > {limit:g}")

    def test_leave_out_checks_that_there_are(self):
        [left_out] = re.findall(r'check!~"([^"]+)"', RULES["StarledgerBooksContradict"]["expr"])

        assert set(left_out.split("|")) <= {check.what for check in invariants.checks()}


def names_of(labels: str) -> list[str]:
    return re.findall(r'alertname="(\w+)"', labels)


class TestTheRunbook:
    def test_has_a_paragraph_for_each_alert_and_no_other(self):
        assert re.findall(r"^### (\w+)$", RUNBOOK, re.MULTILINE) == list(RULES)

    @pytest.mark.parametrize("alert", PARAGRAPHS)
    def test_says_what_it_means_where_to_look_what_to_do_and_when_it_is_over(self, alert):
        assert re.findall(r"^\*\*(\w+):\*\*", PARAGRAPHS[alert], re.MULTILINE) == ["Means", "Look", "Do", "Over"]

    def test_leads_nowhere_that_is_not_there(self):
        for place in re.findall(r"\]\(#(\w+)\)", RUNBOOK):
            assert place in map(str.lower, PARAGRAPHS)
        for path in re.findall(r"\]\((?!#)([^)]+)\)", RUNBOOK):
            assert (BASE_DIR / "docs" / path).exists()

    def test_names_commands_variables_and_metrics_that_there_are(self):
        words = re.findall(r"`([^`]+)`", RUNBOOK)

        for word in words:
            for command in re.findall(r"manage\.py (\w+)", word):
                assert command in COMMANDS
            assert metrics_in(word).keys() <= PROMISED.keys()
            if re.fullmatch(r"[A-Z]+(_[A-Z]+)+", word):
                assert word in VARIABLES


class TestTheDashboard:
    def test_has_panels_of_one_place_each(self):
        assert len({panel["id"] for panel in PANELS}) == len(PANELS)
        taken = set()
        for panel in PANELS:
            at = panel["gridPos"]
            fields = set(itertools.product(range(at["x"], at["x"] + at["w"]), range(at["y"], at["y"] + at["h"])))
            assert at["x"] + at["w"] <= 24
            assert not fields & taken, panel["title"]
            taken |= fields

    def test_has_a_row_for_each_thing_to_watch(self):
        assert [panel["title"] for panel in PANELS if panel["type"] == "row"] == [
            "Money",
            "Checkouts",
            "Inbox and workers",
            "Refunds and reconciliation",
            "Health",
        ]

    def test_asks_the_prometheus_that_is_chosen(self):
        [chosen] = DASHBOARD["templating"]["list"]
        assert (chosen["name"], chosen["type"], chosen["query"]) == ("datasource", "datasource", "prometheus")
        sources: list[Any] = [
            asking["datasource"] for panel in PANELS if panel["type"] != "row" for asking in (panel, *panel["targets"])
        ]
        assert all(source == {"type": "prometheus", "uid": "${datasource}"} for source in sources)

    def test_asks_what_promtool_understands(self, tmp_path: Path):
        asked = [query.replace("$__rate_interval", "5m") for query in queries()]
        rules = [{"record": f"query:{number}", "expr": query} for number, query in enumerate(asked)]
        (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))

        code, said = promtool("check", "rules", str(tmp_path / "rules.yml"))

        assert code == 0, said


class TestTheMetrics:
    @pytest.mark.parametrize("query", queries())
    def test_that_are_asked_for_are_exported_with_their_labels(self, query):
        found = metrics_in(query)

        for name, labels in found.items():
            assert name in PROMISED
            assert labels <= {*PROMISED[name][1:], *OF_EVERY_TARGET}
        known = {label for name in found for label in PROMISED[name][1:]} | OF_EVERY_TARGET | {"le"}
        for labels in re.findall(r"\b(?:by|without) \(([^)]*)\)", query):
            assert set(labels.split(", ")) <= known

    @pytest.mark.parametrize("name", PROMISED)
    def test_are_all_looked_at(self, name):
        assert any(name in metrics_in(query) for query in queries())
