"""What the caretaker keeps up while another reader of the slot publishes, and what it refuses."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.outbox_probe import Probe, drop_slot, probe_service
from tests.support.stack import Stack

from orderflow.messaging.kafka import clients
from orderflow.messaging.relay import pg_catalog
from orderflow.messaging.relay.position import Position, lsn_number, read_position
from orderflow.messaging.testing.eventually import eventually


@pytest.fixture
def probe(stack: Stack, tmp_path: Path) -> Iterator[Probe]:
    with probe_service(stack, tmp_path) as deployed:
        yield deployed


def test_the_position_follows_what_the_slot_has_confirmed_and_rows_are_noted(probe: Probe) -> None:
    """A reader that moves the slot is here an operator: what it confirmed counts as published."""
    probe.caretaker()
    probe.write_all(["a"], each=3)
    assert noted(probe) < 3

    end = advance(probe)
    eventually(lambda: position(probe).lsn >= end, within_s=60)
    assert position(probe).follows
    # The slot has to pass the caretaker's next mark, which it sets after its look.
    eventually(lambda: advance(probe) > 0 and noted(probe) == 3, within_s=60, every_s=0.5)


def test_a_relay_goes_on_where_the_slot_was_confirmed(probe: Probe) -> None:
    """Not at a position that is behind it: those rows would come twice."""
    caretaker = probe.caretaker()
    caretaker.popen.kill()
    caretaker.wait()
    probe.write_all(["a"], each=3)
    advance(probe)
    probe.committed.clear()

    probe.relay()
    probe.write_all(["a"], each=2)
    probe.assert_each_once_in_order()
    assert not position(probe).follows


def test_it_takes_over_from_a_relay_at_its_position(probe: Probe) -> None:
    relay = probe.relay()
    probe.write_all(["a"], each=3)
    probe.assert_each_once_in_order()
    relay.popen.kill()
    relay.wait()
    probe.caretaker()
    assert confirmed(probe) == position(probe).lsn


def test_a_slot_that_was_dropped_is_refused_with_the_way_out(probe: Probe) -> None:
    caretaker = probe.caretaker()
    probe.write_all(["a"], each=1)
    drop_slot(probe.stack, probe.name)
    assert caretaker.wait() == 3
    assert caretaker.logged("was dropped")
    assert caretaker.logged("orderflow relay resync")


def test_while_rows_are_held_no_other_reader_gets_the_slot(probe: Probe) -> None:
    relay = probe.relay()
    probe.set_record_bytes_max(2_000)
    with probe.connection() as connection:
        probe.write(connection, "large", size=5_000)
    eventually(lambda: relay.logged("a row is held"), within_s=30)
    relay.popen.terminate()
    relay.wait()

    caretaker = probe.caretaker()
    assert caretaker.wait() == 3
    assert caretaker.logged("are held, and another reader would publish")


def advance(probe: Probe) -> int:
    """Confirm all that the log has; where that is."""
    with probe.connection() as connection:
        (end,) = one(connection.execute("SELECT pg_current_wal_insert_lsn()::text").fetchone())
        connection.execute(
            "SELECT pg_replication_slot_advance(%s, %s::pg_lsn)", (probe.settings.slot, end)
        )
        connection.commit()
    return lsn_number(end)


def position(probe: Probe) -> Position:
    consumer = clients.consumer(probe.kafka, probe.settings.group)
    try:
        there = read_position(consumer, between=lambda: None)
    finally:
        consumer.close()
    assert there is not None
    return there


def confirmed(probe: Probe) -> int:
    with probe.connection() as connection:
        slot = pg_catalog.find_slot(connection, probe.settings.slot)
    assert slot is not None
    return slot.confirmed_flush


def noted(probe: Probe) -> int:
    with probe.connection() as connection:
        row = connection.execute("SELECT published_sequence FROM relay_state").fetchone()
    return int(one(row)[0])


def one(row: tuple[object, ...] | None) -> tuple[str, ...]:
    assert row is not None
    return tuple(str(value) for value in row)
