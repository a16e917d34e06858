"""Each alert fires when it should and keeps still when it should, and says what to do."""

from __future__ import annotations

import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest
import yaml
from tests.support.alert_rules import UnitTest, expanded, rules_of, unit_tests

ROOT = Path(__file__).parents[2]
RULES = sorted(ROOT.glob("deploy/prometheus/rules/*.yml"))
FILES = sorted(ROOT.glob("deploy/prometheus/tests/*.yml"))
TESTS = unit_tests(FILES)
ALERTS = [rule for file in RULES for rule in rules_of(file) if "alert" in rule]
PROMTOOL = [path for path in [shutil.which("promtool")] if path is not None]
"""Prometheus' own tool, where it is installed: what it says is what holds."""


@pytest.mark.parametrize("test", TESTS, ids=lambda test: test.name)
def test_alerts_fire_when_they_should(test: UnitTest) -> None:
    fired = test.run()
    assert {moment: sorted(alerts, key=str) for moment, alerts in fired.items()} == {
        moment: sorted(alerts, key=str) for moment, alerts in test.expected.items()
    }


@pytest.mark.parametrize("promtool", PROMTOOL)
def test_promtool_says_the_same(promtool: str) -> None:
    for arguments in (
        ["check", "rules", *map(str, RULES)],
        ["check", "config", str(ROOT / "deploy/prometheus/prometheus.yml")],
        ["test", "rules", *map(str, FILES)],
    ):
        said = subprocess.run([promtool, *arguments], capture_output=True, text=True, check=False)
        assert said.returncode == 0, said.stdout + said.stderr


def test_every_alert_is_seen_to_fire_and_to_keep_still() -> None:
    seen = Counter(
        (name, bool(alerts)) for test in TESTS for (name, _), alerts in test.expected.items()
    )
    wanted = {(rule["alert"], fires) for rule in ALERTS for fires in (True, False)}
    assert wanted == set(seen)


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_an_alert_says_what_is_wrong_how_bad_and_what_to_do(rule: dict[str, object]) -> None:
    annotations = rule["annotations"]
    assert isinstance(annotations, dict)
    assert rule["labels"] in ({"severity": "page"}, {"severity": "ticket"})
    assert rule["for"]
    assert list(annotations) == ["summary", "description", "runbook"]
    assert not str(annotations["summary"]).endswith(".")
    assert str(annotations["description"]).endswith(".")
    assert "{{" not in expanded(" ".join(annotations.values()), {}, 1.0)


def test_a_rule_has_one_name() -> None:
    names = Counter(
        rule.get("alert", rule.get("record")) for file in RULES for rule in rules_of(file)
    )
    assert [name for name, count in names.items() if count > 1] == []


def test_tests_name_files_that_exist() -> None:
    for file in FILES:
        for name in yaml.safe_load(file.read_text())["rule_files"]:
            assert (file.parent / name).exists()
