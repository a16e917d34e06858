"""Metrics as Prometheus reads them."""

from __future__ import annotations

from orderflow.messaging.telemetry import counter, gauge, render_metrics

sent = counter("test_parcels_sent", "Parcels sent.", ["depot"])
waiting = gauge("test_parcels_waiting", "Parcels waiting.")


def test_metrics_carry_our_prefix_and_the_process_is_measured() -> None:
    sent.labels("north").inc(2)
    waiting.set(5)

    text, content_type = render_metrics()

    assert content_type.startswith("text/plain")
    assert b'orderflow_test_parcels_sent_total{depot="north"} 2.0' in text
    assert b"orderflow_test_parcels_waiting 5.0" in text
    assert b"process_resident_memory_bytes" in text
