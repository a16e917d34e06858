"""A measured gauge is exported while its last measurement holds, and never with an old value."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from orderflow.messaging.telemetry import MeasuredGauge


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


def shown(registry: CollectorRegistry) -> list[str]:
    lines = generate_latest(registry).decode().splitlines()
    return sorted(line for line in lines if not line.startswith("#"))


def test_nothing_is_exported_before_the_first_measurement(registry: CollectorRegistry) -> None:
    MeasuredGauge("parcels_waiting", "Parcels waiting.", registry=registry)
    assert generate_latest(registry) == b"", "not even its help"


def test_a_hidden_gauge_vanishes_and_comes_back(registry: CollectorRegistry) -> None:
    waiting = MeasuredGauge("parcels_waiting", "Parcels waiting.", registry=registry)
    waiting.set(3)
    assert shown(registry) == ["orderflow_parcels_waiting 3.0"]

    waiting.hide()
    assert generate_latest(registry) == b""

    waiting.set(0)
    assert shown(registry) == ["orderflow_parcels_waiting 0.0"]


def test_series_are_set_and_hidden_by_their_labels(registry: CollectorRegistry) -> None:
    waiting = MeasuredGauge("parcels_waiting", "Parcels waiting.", ["depot"], registry=registry)
    waiting.set(3, "north")
    waiting.set(4, "south")
    waiting.hide("north")
    assert shown(registry) == ['orderflow_parcels_waiting{depot="south"} 4.0']
    with pytest.raises(ValueError, match="depot"):
        waiting.set(1)


def test_a_second_gauge_of_the_name_is_refused(registry: CollectorRegistry) -> None:
    MeasuredGauge("parcels_waiting", "Parcels waiting.", registry=registry)
    with pytest.raises(ValueError, match="parcels_waiting"):
        MeasuredGauge("parcels_waiting", "Parcels waiting.", registry=registry)
