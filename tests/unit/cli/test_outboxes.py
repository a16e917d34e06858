"""What `orderflow status` says of outboxes: who is to blame, and that it does not know."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from orderflow.cli.outboxes import Outbox, outbox_table, outboxes, with_samples
from orderflow.messaging.http.client import BoundedClient
from orderflow.messaging.telemetry import read_samples
from orderflow.stack.settings import StackSettings
from orderflow.stack.supervise.managed import ProcessRow

ORDER = Outbox(service="order", relay="order-relay", api="order-api")
METRICS = """\
# TYPE orderflow_outbox_pending_rows gauge
orderflow_outbox_pending_rows{service="order"} 120.0
orderflow_outbox_pending_rows{service="inventory"} 7.0
orderflow_outbox_pending_oldest_seconds{service="order"} 34.2
orderflow_outbox_held_rows{service="inventory"} 2.0
orderflow_outbox_slot_active{service="order"} 0.0
orderflow_outbox_slot_lag_bytes{service="order"} 98304.0
"""


def process(name: str, state: str = "running") -> ProcessRow:
    return ProcessRow(
        name=name,
        service=name.partition("-")[0],
        role="api",
        slot=0,
        pid=1,
        address="",
        state=state,
        health="ok",
        restarts=0,
        reason="",
    )


def test_with_a_stopped_relay_the_relay_is_blamed() -> None:
    outbox = with_samples(ORDER, read_samples(METRICS))
    assert (outbox.pending, outbox.oldest_s, outbox.slot_lag_bytes) == (120, 34.2, 98_304)
    assert outbox.sentence == (
        "order: 120 rows wait to be published, the oldest for 34 s: is order-relay running?"
    )


def test_held_rows_are_said_with_what_to_type() -> None:
    inventory = Outbox(service="inventory", relay="inventory", api="inventory")
    assert with_samples(inventory, read_samples(METRICS)).sentence == (
        "inventory: 2 rows are held, which a topic refused: `orderflow relay held list inventory`"
    )
    assert with_samples(ORDER, read_samples(METRICS)).held is None


@pytest.mark.parametrize(
    ("pending", "oldest_s", "active", "is_blamed"),
    [
        (0, 0.0, True, False),
        (0, 0.0, False, False),
        (5, 0.3, True, False),
        (5, 12.0, True, True),
        (1, 0.3, False, True),
    ],
)
def test_rows_on_their_way_are_no_fault(
    pending: int, oldest_s: float, active: bool, is_blamed: bool
) -> None:
    outbox = Outbox(
        service="order",
        relay="order-relay",
        api="order-api",
        pending=pending,
        oldest_s=oldest_s,
        slot_active=active,
    )
    assert bool(outbox.sentence) is is_blamed
    if pending == 1:
        assert "1 row waits to be published" in outbox.sentence


def test_what_could_not_be_measured_is_not_shown_as_nothing() -> None:
    outbox = with_samples(ORDER, read_samples("# nothing\n"))
    assert (outbox.pending, outbox.oldest_s) == (None, None)
    assert outbox.sentence == "order: order-api could not measure its outbox: see its log"


def test_an_api_that_does_not_run_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BoundedClient, "get", None)
    settings = StackSettings(home=Path(), cache_dir=Path())
    known = outboxes(settings, [process("order-api", "stopped"), process("kafka")])
    assert [(outbox.service, outbox.pending) for outbox in known] == [("order", None)]
    assert "order-api, which measures its outbox, does not run" in known[0].sentence


def test_the_table_fits_80_columns() -> None:
    console = Console(width=80, record=True)
    busy = Outbox(
        service="notification",
        relay="notification-relay",
        api="notification-api",
        pending=100_000,
        oldest_s=86_400.0,
        slot_active=False,
        slot_lag_bytes=10**12,
        held=1_000,
    )
    console.print(outbox_table([busy, ORDER]))
    lines = console.export_text().splitlines()
    assert len(lines) == 3, "a line for each outbox"
