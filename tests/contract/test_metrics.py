"""All metrics: named by the rules, without ids in their labels, and listed in a table."""

from __future__ import annotations

import pytest

from orderflow.messaging.telemetry import Declared
from orderflow.services.metrics import FILE, metrics, text

ALLOWED_LABELS = {
    "check",
    "connector",
    "consumergroup",
    "effect",
    "ended",
    "http_request_method",
    "http_response_status_code",
    "http_route",
    "kind",
    "listener",
    "messaging_consumer_group_name",
    "messaging_destination_name",
    "operation",
    "orderflow_event_type",
    "outcome",
    "partition",
    "relay",
    "resource",
    "service",
    "state",
    "table",
    "topic",
    "waiting_for",
    "waits_for",
    "what",
}
"""Each has few values, and none that a client chooses: no ids, addresses, keys or messages."""

PREFIXES = ("orderflow_", "messaging_", "http_", "kafka_")
"""Ours; OpenTelemetry's; and those of Kafka's exporters, which dashboards know."""

UNITS = {"seconds": ("_seconds",), "bytes": ("_bytes",)}
OTHER_UNITS = ("milliseconds", "_ms", "minutes", "hours", "kilobytes", "_kb", "_mb")
DURATION_WORDS = ("age", "delay", "duration", "latency", "freshness", "oldest")


def names() -> list[Declared]:
    return metrics()


@pytest.mark.parametrize("metric", names(), ids=lambda metric: metric.name)
def test_a_metric_is_named_by_the_rules(metric: Declared) -> None:
    assert set(metric.labels) <= ALLOWED_LABELS, "a label that may hold ids, or one to be listed"
    assert metric.name.startswith(PREFIXES)
    assert not any(unit in metric.name for unit in OTHER_UNITS), "base units"
    assert metric.name.endswith("_total") == (metric.kind == "counter")
    words = metric.name.split("_")
    if any(word in DURATION_WORDS for word in words) and "offset" not in words:
        assert "seconds" in words, "what is a time says so"
    if metric.kind == "histogram":
        assert words[-1] in ("seconds", "bytes", "records", "requests"), "it has a unit"


@pytest.mark.parametrize("metric", names(), ids=lambda metric: metric.name)
def test_a_metric_says_what_it_means_in_a_plain_sentence(metric: Declared) -> None:
    meaning = metric.meaning
    assert meaning[0].isupper() or meaning[0].isdigit()
    assert "\n" not in meaning
    assert len(meaning) <= 120


def test_no_metric_is_measured_twice() -> None:
    found = [metric.name for metric in names()]
    assert len(found) == len(set(found))


def test_the_committed_table_is_what_the_modules_declare() -> None:
    assert FILE.read_text(encoding="utf-8") == text(), "run `make docs` and commit docs/metrics.md"
