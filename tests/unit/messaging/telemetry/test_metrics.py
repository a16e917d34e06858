"""Metrics as Prometheus reads them."""

from __future__ import annotations

from orderflow.messaging.telemetry import counter, declared, gauge, histogram, render_metrics

sent = counter("test_parcels_sent", "Parcels sent.", ["depot"])
waiting = gauge("test_parcels_waiting", "Parcels waiting.")
lost = counter("test_parcels_lost", "Parcels lost.")
weighed = histogram("test_parcel_bytes", "What parcels weigh.")
returned = counter("test_parcels_returned", "Parcels returned.", ["depot"])


def test_metrics_carry_our_prefix_and_the_process_is_measured() -> None:
    sent.labels("north").inc(2)
    waiting.set(5)

    text, content_type = render_metrics()

    assert content_type.startswith("text/plain")
    assert b'orderflow_test_parcels_sent_total{depot="north"} 2.0' in text
    assert b"orderflow_test_parcels_waiting 5.0" in text
    assert b"process_resident_memory_bytes" in text


def test_a_process_exports_only_what_it_does() -> None:
    for name in (b"test_parcels_lost", b"test_parcel_bytes", b"test_parcels_returned"):
        assert name not in render_metrics()[0], "neither samples nor a heading"

    lost.inc(0)
    returned.labels("north")
    weighed.observe(3)
    text = render_metrics()[0]
    assert b"orderflow_test_parcels_lost_total 0.0" in text, "a zero is something to say"
    assert b'orderflow_test_parcels_returned_total{depot="north"} 0.0' in text
    assert b"orderflow_test_parcel_bytes_count 1.0" in text


def test_a_metric_is_declared_with_the_module_that_makes_it() -> None:
    [found] = [metric for metric in declared() if metric.name.endswith("parcels_returned_total")]
    assert (found.kind, found.labels, found.module) == ("counter", ("depot",), __name__)
