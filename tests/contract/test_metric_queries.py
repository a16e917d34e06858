"""
Every query of the alert rules and dashboards: Prometheus would take it, and what it names is
measured.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.support.alert_rules import rules_of
from tests.support.metric_names import TARGET_LABELS, sample_names
from tests.support.promql import label_names, parsed, selectors

from orderflow.contracts.roster import ROSTER

DEPLOY = Path(__file__).parents[2] / "deploy"
RULES = sorted(DEPLOY.glob("prometheus/rules/*.yml"))
DASHBOARDS = sorted(DEPLOY.glob("grafana/dashboards/*.json"))
VARIABLES = {"$__rate_interval": "5m", "$__range": "1h"}
"""What Grafana puts in before it asks Prometheus."""


def queries() -> Iterator[tuple[str, str]]:
    for file in RULES:
        for rule in rules_of(file):
            yield f"{file.stem}: {rule.get('alert', rule.get('record'))}", rule["expr"]
    for file in DASHBOARDS:
        for panel in json.loads(file.read_text())["panels"]:
            for target in panel.get("targets", ()):
                yield f"{file.stem}: {panel['title']}", target["expr"]


def tree_of(query: str) -> Any:
    for variable, value in VARIABLES.items():
        query = query.replace(variable, value)
    return parsed(query)


QUERIES = [pytest.param(query, id=where) for where, query in queries()]
RECORDED = {
    rule["record"]: frozenset(label_names(parsed(rule["expr"])))
    for file in RULES
    for rule in rules_of(file)
    if "record" in rule
}
MEASURED = sample_names()


@pytest.mark.parametrize("query", QUERIES)
def test_what_a_query_names_is_measured(query: str) -> None:
    known = MEASURED | RECORDED
    tree = tree_of(query)
    named = {selector.name: selector for selector in selectors(tree)}
    assert named.keys() <= known.keys()

    for name, selector in named.items():
        matched = {matcher.name for matcher in selector.matchers.matchers}
        assert matched <= known[name] | TARGET_LABELS, f"{name} has no such label"
    labels = frozenset[str]().union(*(known[name] for name in named)) | TARGET_LABELS
    assert label_names(tree) <= labels


def test_no_metric_has_a_label_of_its_target() -> None:
    assert [name for name, labels in MEASURED.items() if labels & TARGET_LABELS] == []


def test_every_process_of_the_local_stack_is_scraped_once() -> None:
    document = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    (job,) = document["scrape_configs"]
    scraped = [(target["labels"], target["targets"]) for target in job["static_configs"]]
    assert scraped == [
        ({"process": process.name}, [f"127.0.0.1:{row.ports[process.roles[0]]}"])
        for row in ROSTER
        if not row.on_demand
        for process in row.runs
    ]
