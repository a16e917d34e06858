"""
Prometheus' rules, and promtool's unit-test files, run without Prometheus.

`Rules` evaluates groups of recording and alert rules over series; `UnitTest` is one test of a
file in promtool's format.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from tests.support.promql import (
    STALE,
    Labels,
    Query,
    Series,
    duration_s,
    labels_of,
    notated,
    parsed,
    without_name,
)

FOLDER = Path(__file__).parents[2] / "deploy" / "prometheus"

Alert = tuple[Labels, Labels]
"""Labels and annotations of a firing alert."""


class Rules:
    """All groups of some rule files, evaluated in their order at each step."""

    def __init__(self, files: Sequence[Path], series: Series) -> None:
        self.rules = [rule for file in files for rule in rules_of(file)]
        self.trees = [parsed(rule["expr"]) for rule in self.rules]
        self.series = series
        self.active: dict[str, dict[Labels, float]] = {}
        self.recorded: dict[int, set[Labels]] = {}

    def step(self, at_s: float) -> dict[str, list[Alert]]:
        """The alerts that fire at that moment, by name."""
        firing: dict[str, list[Alert]] = {}
        for number, (rule, tree) in enumerate(zip(self.rules, self.trees, strict=True)):
            values = Query(self.series, at_s).vector(tree)
            if "record" in rule:
                self.record(number, rule, values, at_s)
            else:
                firing[rule["alert"]] = self.fire(rule, values, at_s)
        return firing

    def record(
        self, number: int, rule: Mapping[str, Any], values: Mapping[Labels, float], at_s: float
    ) -> None:
        now = {
            labels_of({**dict(labels), **rule.get("labels", {}), "__name__": rule["record"]}): value
            for labels, value in values.items()
        }
        for labels in self.recorded.get(number, set()) - now.keys():
            self.series[labels].append((at_s, STALE))
        for labels, value in now.items():
            self.series.setdefault(labels, []).append((at_s, value))
        self.recorded[number] = set(now)

    def fire(
        self, rule: Mapping[str, Any], values: Mapping[Labels, float], at_s: float
    ) -> list[Alert]:
        since = self.active.get(rule["alert"], {})
        bare = {without_name(labels): value for labels, value in values.items()}
        assert len(bare) == len(values), f"{rule['alert']}: two alerts with the same labels"
        self.active[rule["alert"]] = {labels: since.get(labels, at_s) for labels in bare}
        return [
            (
                labels_of({**dict(labels), **rule.get("labels", {}), "alertname": rule["alert"]}),
                labels_of(
                    {
                        name: expanded(text, dict(labels), value)
                        for name, text in rule["annotations"].items()
                    }
                ),
            )
            for labels, value in bare.items()
            if at_s - self.active[rule["alert"]][labels] >= duration_s(rule.get("for", "0s"))
        ]


def rule_queries() -> list[str]:
    """Every query of our rules."""
    return [rule["expr"] for file in sorted(FOLDER.glob("rules/*.yml")) for rule in rules_of(file)]


def scrape_targets() -> dict[str, int]:
    """Each process of the local stack with the port at which Prometheus asks it."""
    (job,) = yaml.safe_load((FOLDER / "prometheus.yml").read_text())["scrape_configs"]
    return {
        target["labels"]["process"]: int(target["targets"][0].rpartition(":")[2])
        for target in job["static_configs"]
    }


def rules_of(file: Path) -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(file.read_text())["groups"] for rule in group["rules"]]


class UnitTest:
    """One test of a file: its series, and what is to fire when."""

    def __init__(self, file: Path, test: Mapping[str, Any], evaluation_s: float) -> None:
        document = yaml.safe_load(file.read_text())
        self.files = [(file.parent / name).resolve() for name in document["rule_files"]]
        self.name = f"{file.stem}: {test['name']}"
        self.evaluation_s = evaluation_s
        self.interval_s = duration_s(test["interval"])
        self.inputs: Mapping[str, str] = {
            row["series"]: str(row["values"]) for row in test["input_series"]
        }
        self.expected: dict[tuple[str, float], list[Alert]] = {
            (row["alertname"], duration_s(row["eval_time"])): [
                (
                    labels_of({**alert.get("exp_labels", {}), "alertname": row["alertname"]}),
                    labels_of(alert.get("exp_annotations", {})),
                )
                for alert in row.get("exp_alerts", [])
            ]
            for row in test["alert_rule_test"]
        }

    def run(self) -> dict[tuple[str, float], list[Alert]]:
        """What fires at the moments of the test."""
        rules = Rules(self.files, series_of(self.inputs, self.interval_s))
        moments = {moment for _, moment in self.expected}
        fired: dict[tuple[str, float], list[Alert]] = {}
        for number in range(int(max(moments) / self.evaluation_s) + 1):
            at_s = number * self.evaluation_s
            firing = rules.step(at_s)
            fired |= {(name, at_s): firing[name] for name, at in self.expected if at == at_s}
        return fired


def firing(
    files: Sequence[Path],
    input_series: Sequence[Mapping[str, str]],
    interval_s: float,
    *,
    evaluation_s: float = 15,
) -> dict[str, list[tuple[float, Labels]]]:
    """Every alert of a recording, in promtool's form: when it fires, and its labels."""
    inputs = {row["series"]: row["values"] for row in input_series}
    series = series_of(inputs, interval_s)
    rules = Rules(files, series)
    end_s = max(samples[-1][0] for samples in series.values())
    fired: dict[str, list[tuple[float, Labels]]] = {}
    for number in range(int(end_s / evaluation_s) + 1):
        at_s = number * evaluation_s
        for name, alerts in rules.step(at_s).items():
            fired.setdefault(name, []).extend((at_s, labels) for labels, _ in alerts)
    return fired


def series_of(inputs: Mapping[str, str], interval_s: float) -> Series:
    notation = {
        labels_of_series(name): notated(values, interval_s) for name, values in inputs.items()
    }
    return {labels: samples for labels, samples in notation.items() if samples}


def labels_of_series(text: str) -> Labels:
    selector = parsed(text)
    pairs = {matcher.name: matcher.value for matcher in selector.matchers.matchers}
    return labels_of({**pairs, "__name__": selector.name})


def unit_tests(files: Sequence[Path]) -> list[UnitTest]:
    """All tests of some files."""
    documents = [(file, yaml.safe_load(file.read_text())) for file in files]
    return [
        UnitTest(file, test, duration_s(document["evaluation_interval"]))
        for file, document in documents
        for test in document["tests"]
    ]


def expanded(text: str, labels: Mapping[str, str], value: float) -> str:
    """An annotation as Prometheus writes it."""

    def replaced(action: re.Match[str]) -> str:
        if action[1] == "$value":
            return HUMANE[action[2]](value)
        name = action[1].removeprefix("$labels.")
        assert action[2] is None, f"not in templates here: {action[0]}"
        assert name != action[1], f"not in templates here: {action[0]}"
        return labels.get(name, "")

    return re.sub(r"\{\{ (\$[\w.]+)(?: \| (\w+))? \}\}", replaced, text)


def humanize(value: float) -> str:
    if value == 0 or not math.isfinite(value):
        return f"{value:.4g}"
    prefixes, factor = (
        (("k", "M", "G", "T", "P", "E", "Z", "Y"), 1 / 1000)
        if abs(value) >= 1
        else (("m", "u", "n", "p", "f", "a", "z", "y"), 1000)
    )
    suffix = ""
    for prefix in prefixes:
        if (1 <= abs(value) < 1000) if factor > 1 else abs(value) < 1000:
            break
        suffix, value = prefix, value * factor
    return f"{value:.4g}{suffix}"


def humanize_1024(value: float) -> str:
    suffix = ""
    for prefix in ("ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi"):
        if abs(value) < 1024:
            break
        suffix, value = prefix, value / 1024
    return f"{value:.4g}{suffix}"


def humanize_duration(value: float) -> str:
    if abs(value) < 1 or not math.isfinite(value):
        return f"{humanize(value)}s"
    minutes, rest_s = divmod(int(value), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}d {hours}h {minutes}m {rest_s}s"
    if hours:
        return f"{hours}h {minutes}m {rest_s}s"
    return f"{minutes}m {rest_s}s" if minutes else f"{value:.4g}s"


HUMANE: Mapping[str, Callable[[float], str]] = {
    "humanize": humanize,
    "humanize1024": humanize_1024,
    "humanizeDuration": humanize_duration,
    "humanizePercentage": lambda value: f"{value * 100:.4g}%",
}
