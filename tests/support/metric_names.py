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
from orderflow.services import metrics

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
_MAKERS = {
    "counter": "counter",
    "gauge": "gauge",
    "histogram": "histogram",
    "MeasuredGauge": "gauge",
    "ComputedGauge": "gauge",
}


def sample_names() -> dict[str, frozenset[str]]:
    """Each sample's name with its labels, those of its target left out."""
    declared = dict(
        made
        for path in sorted(SOURCES.rglob("*.py"))
        for made in made_in(ast.parse(path.read_text()))
    )
    samples = {
        f"{name}{suffix}": frozenset(labels) | own
        for name, (kind, labels) in declared.items()
        for suffix, own in SAMPLES[kind].items()
    }
    return {**samples, **observed(), **CLIENT}


def observed() -> dict[str, frozenset[str]]:
    """What the observer exports, with names that are not ours."""
    return {metric.name: frozenset(metric.labels) for metric in metrics.observed()}


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
