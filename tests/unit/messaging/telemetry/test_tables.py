"""All series of a metric at once: what is no longer there is not exported any more."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from orderflow.messaging.telemetry import GaugeTable


def exported(registry: CollectorRegistry) -> list[str]:
    lines = generate_latest(registry).decode().splitlines()
    return [line for line in lines if not line.startswith("#")]


def test_a_series_that_is_not_in_the_next_values_is_gone() -> None:
    registry = CollectorRegistry()
    table = GaugeTable("kafka_lag", "How far behind", ("topic", "partition"), registry=registry)
    assert exported(registry) == []
    table.replace({("orders", "0"): 3, ("orders", "1"): 0.5})
    assert exported(registry) == [
        'kafka_lag{partition="0",topic="orders"} 3.0',
        'kafka_lag{partition="1",topic="orders"} 0.5',
    ]
    table.replace({("orders", "1"): 0})
    assert exported(registry) == ['kafka_lag{partition="1",topic="orders"} 0.0']
    table.clear()
    assert exported(registry) == []


def test_a_name_is_taken_once_even_before_there_is_a_value() -> None:
    registry = CollectorRegistry()
    GaugeTable("kafka_brokers", "Brokers", registry=registry).replace({(): 3})
    assert exported(registry) == ["kafka_brokers 3.0"]
    with pytest.raises(ValueError, match="kafka_brokers"):
        GaugeTable("kafka_brokers", "Again", registry=registry)
