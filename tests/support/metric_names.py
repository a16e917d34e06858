"""
The names and labels of all samples that a running system can export.

They are read from the calls in the source that make metrics, so that a query can be held against
them without a process: `counter("name", "documentation", ("label",))` and its kin.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

from orderflow.messaging.telemetry.metrics import NAMESPACE

SOURCES = Path(__file__).parents[2] / "src" / "orderflow"
TARGET_LABELS = frozenset({"job", "instance", "process"})
"""What `prometheus.yml` adds to every sample."""
SAMPLES: Mapping[str, Mapping[str, frozenset[str]]] = {
    "counter": {"_total": frozenset()},
    "gauge": {"": frozenset()},
    "histogram": {"_bucket": frozenset({"le"}), "_count": frozenset(), "_sum": frozenset()},
}
"""What each kind of metric is exported as, with the labels that come with it."""
CLIENT: Mapping[str, frozenset[str]] = dict.fromkeys(
    (
        "up",
        "process_cpu_seconds_total",
        "process_resident_memory_bytes",
        "process_open_fds",
        "process_start_time_seconds",
    ),
    frozenset(),
)
"""By Prometheus itself and its client."""
ANNOUNCED: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "orderflow_order_settled_seconds": ("histogram", ()),
    "orderflow_revenue_freshness_seconds": ("gauge", ()),
    "orderflow_streams_restoring_partitions": ("gauge", ("listener",)),
    "orderflow_streams_restoring_oldest_seconds": ("gauge", ("listener",)),
    "orderflow_streams_restore_records_left": ("gauge", ("listener",)),
    "kafka_consumergroup_lag": ("gauge", ("consumergroup", "topic", "partition")),
    "kafka_consumergroup_lag_seconds": ("gauge", ("consumergroup", "topic", "partition")),
    "kafka_consumergroup_current_offset": ("gauge", ("consumergroup", "topic", "partition")),
    "kafka_consumergroup_lag_sum": ("gauge", ("consumergroup", "topic")),
    "kafka_topic_partition_current_offset": ("gauge", ("topic", "partition")),
    "kafka_topic_partition_oldest_offset": ("gauge", ("topic", "partition")),
    "kafka_topic_partition_under_replicated_partition": ("gauge", ("topic", "partition")),
    "kafka_brokers": ("gauge", ()),
    "orderflow_open_transaction_seconds": ("gauge", ("topic", "partition")),
    "orderflow_dead_letters_open": ("gauge", ("consumergroup", "topic")),
    "orderflow_dead_letters_open_oldest_seconds": ("gauge", ("consumergroup", "topic")),
}
"""Agreed, and not in the source yet. An entry goes when its metric comes."""
_MAKERS = {
    "counter": "counter",
    "gauge": "gauge",
    "histogram": "histogram",
    "MeasuredGauge": "gauge",
}


def sample_names() -> dict[str, frozenset[str]]:
    """Each sample's name with its labels, those of its target left out."""
    declared = {
        name: made
        for path in sorted(SOURCES.rglob("*.py"))
        for name, made in made_in(ast.parse(path.read_text()))
    }
    samples = {
        f"{name}{suffix}": frozenset(labels) | own
        for name, (kind, labels) in {**ANNOUNCED, **declared}.items()
        for suffix, own in SAMPLES[kind].items()
    }
    return {**samples, **CLIENT}


def made_in(module: ast.Module) -> Iterator[tuple[str, tuple[str, tuple[str, ...]]]]:
    """The metrics that a module makes: name, kind and labels."""
    for node in ast.walk(module):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
            continue
        kind = _MAKERS.get(node.func.id)
        if kind is None or not node.args or not isinstance(node.args[0], ast.Constant):
            continue
        options = {keyword.arg: keyword.value for keyword in node.keywords}
        namespace = ast.literal_eval(options["namespace"]) if "namespace" in options else NAMESPACE
        labels = node.args[2] if len(node.args) > 2 else options.get("labels")
        name = str(node.args[0].value)
        yield (
            f"{namespace}_{name}" if namespace else name,
            (kind, tuple(ast.literal_eval(labels)) if labels is not None else ()),
        )
