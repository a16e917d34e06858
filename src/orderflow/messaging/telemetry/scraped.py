"""The metrics of another process, read from its `/metrics`."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client.parser import text_string_to_metric_families

Labels = frozenset[tuple[str, str]]
"""Names and values of a sample's labels."""


def read_samples(text: str) -> Mapping[tuple[str, Labels], float]:
    """
    Every sample of a text in Prometheus' format, by its name and its labels.

    Raises ValueError on a text that is none.
    """
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
