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
    "http_server_request_duration_seconds": (
        "histogram",
        ("http_request_method", "http_route", "http_response_status_code"),
    ),
    "messaging_client_consumed_messages": (
        "counter",
        ("messaging_consumer_group_name", "messaging_destination_name"),
    ),
    "messaging_client_sent_messages": (
        "counter",
        ("messaging_destination_name", "orderflow_event_type"),
    ),
    "messaging_process_duration_seconds": ("histogram", ("messaging_consumer_group_name",)),
    "orderflow_listener_batch_records": ("histogram", ("listener",)),
    "orderflow_listener_waiting_oldest_seconds": ("gauge", ("listener",)),
    "orderflow_listener_rebalances": ("counter", ("listener",)),
    "orderflow_listener_producer_renewals": ("counter", ("listener",)),
    "orderflow_listener_gate_closed": ("gauge", ("listener", "resource")),
    "orderflow_relay_streaming": ("gauge", ("relay",)),
    "orderflow_relay_position_bytes": ("gauge", ("relay",)),
    "orderflow_relay_wal_end_bytes": ("gauge", ("relay",)),
    "orderflow_relay_records": ("counter", ("relay",)),
    "orderflow_relay_transactions": ("counter", ("relay",)),
    "orderflow_relay_aborts": ("counter", ("relay",)),
    "orderflow_relay_restarts": ("counter", ("relay",)),
    "orderflow_relay_batch_records": ("histogram", ("relay",)),
    "orderflow_relay_commit_seconds": ("histogram", ("relay",)),
    "orderflow_group_commit_queue_requests": ("gauge", ()),
    "orderflow_group_commit_batch_requests": ("histogram", ()),
    "orderflow_group_commit_seconds": ("histogram", ()),
    "orderflow_outbox_pending_rows": ("gauge", ("service",)),
    "orderflow_outbox_pending_oldest_seconds": ("gauge", ("service",)),
    "orderflow_outbox_slot_lag_bytes": ("gauge", ("service",)),
    "orderflow_outbox_slot_active": ("gauge", ("service",)),
    "orderflow_orders_stuck": ("gauge", ("waits_for",)),
    "orderflow_orders_stuck_oldest_seconds": ("gauge", ("waits_for",)),
    "orderflow_order_settled_seconds": ("histogram", ()),
    "orderflow_mail_pending": ("gauge", ()),
    "orderflow_mail_pending_oldest_seconds": ("gauge", ()),
    "orderflow_measurement_failing": ("gauge", ("of",)),
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
"""Agreed, and not in the source in this form yet. An entry goes when its metric comes."""
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
        for name, (kind, labels) in {**declared, **ANNOUNCED}.items()
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
