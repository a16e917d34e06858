"""
What keeps an outbox going on a real server: migrations, partitions by day, a second relay that
stands by.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.support.databases import database_settings
from tests.support.outbox_probe import Probe, probe_service
from tests.support.stack import Stack

from orderflow.messaging import postgres
from orderflow.messaging.errors import Contention, Transient, Unavailable
from orderflow.messaging.postgres import Connection
from orderflow.messaging.relay.outbox_partitions import PartitionKeeper
from orderflow.messaging.testing.eventually import eventually


@pytest.fixture
def probe(stack: Stack, tmp_path: Path) -> Iterator[Probe]:
    with probe_service(stack, tmp_path) as deployed:
        yield deployed


@pytest.fixture
def connection(probe: Probe) -> Iterator[Connection]:
    settings = database_settings(probe.database_url)
    with postgres.connect(settings, application_name="upkeep", autocommit=True) as opened:
        yield opened


def partitions(connection: Connection) -> set[str]:
    rows = connection.execute(
        "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'outbox'::regclass"
    )
    return {row[0] for row in rows}


def wal_end(connection: Connection) -> int:
    row = connection.execute("SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint").fetchone()
    assert row is not None
    return int(row[0])


def named(days: int) -> str:
    return f"outbox_p{datetime.now(UTC) + timedelta(days=days):%Y%m%d}"


def make_day(connection: Connection, days: int) -> None:
    """A partition of that day with one row in it."""
    day = datetime.now(UTC).date() + timedelta(days=days)
    connection.execute(
        f"CREATE TABLE {named(days)} PARTITION OF outbox "
        f"FOR VALUES FROM ('{day}T00:00Z') TO ('{day + timedelta(days=1)}T00:00Z')".encode()
    )


def test_rows_of_every_partition_made_ahead_and_of_the_default_one_arrive(
    probe: Probe, connection: Connection
) -> None:
    probe.relay()
    assert {named(days) for days in range(8)} <= partitions(connection)
    probe.write_all(["today"], each=2)
    connection.execute(f"ALTER TABLE outbox DETACH PARTITION {named(0)}".encode())
    probe.write_all(["in the default partition"], each=2)
    probe.assert_each_once_in_order()


def test_a_day_with_rows_in_the_default_partition_keeps_them_there(
    probe: Probe, connection: Connection
) -> None:
    """The other days get their partitions."""
    probe.write_all(["early"], each=1)
    PartitionKeeper().keep(connection, position=0)
    assert partitions(connection) == {"outbox_default", *(named(days) for days in range(1, 8))}


def test_old_days_go_only_when_the_position_has_passed_what_they_held(
    connection: Connection,
) -> None:
    make_day(connection, -9)
    make_day(connection, -7)
    keeper = PartitionKeeper()
    keeper.keep(connection, position=0)
    keeper.keep(connection, position=0)
    assert named(-9) in partitions(connection), "nothing is published, so nothing may go"
    keeper.keep(connection, position=wal_end(connection))
    assert named(-9) not in partitions(connection)
    assert named(-7) in partitions(connection)


def test_writers_are_not_held_back_by_a_transaction_that_holds_the_default_partition(
    probe: Probe, connection: Connection
) -> None:
    """
    The keeper gives up after its lock time-out, so whoever queues behind it waits no longer than
    that.
    """
    with probe.connection() as holder:
        holder.execute("LOCK TABLE outbox_default IN ACCESS SHARE MODE")
        with pytest.raises(postgres.DatabaseError) as given_up:
            PartitionKeeper().keep(connection, position=0)
    assert isinstance(postgres.transient(given_up.value), Transient)


def test_a_second_relay_stands_by_and_takes_over_when_the_first_is_killed(probe: Probe) -> None:
    first = probe.relay()
    second = probe.relay()
    assert second.logged("the relay stands by")
    probe.write_all(["a", "b"], each=5)
    probe.assert_each_once_in_order()
    assert not second.logged("the relay streams")
    first.popen.kill()
    probe.write_all(["a", "b"], each=5)
    probe.assert_each_once_in_order()
    assert second.logged("the relay streams")


def test_two_relays_that_start_at_once_on_a_new_database_agree(probe: Probe) -> None:
    relays = [probe.relay(wait=False) for _ in range(3)]

    def agreed() -> bool:
        # Whoever streams at last may have stood by before: while another one made the slot.
        streaming = [relay for relay in relays if relay.logged("the relay streams")]
        standing_by = [relay for relay in relays if relay.logged("the relay stands by")]
        return len(streaming) == 1 and len({*map(id, standing_by)} - {*map(id, streaming)}) == 2

    eventually(agreed, within_s=60, why="one streams, two stand by")
    probe.write_all(["a"], each=3)
    probe.assert_each_once_in_order()
    assert all(relay.popen.poll() is None for relay in relays)


def test_a_relay_stops_cleanly_and_its_successor_goes_on_behind_it(probe: Probe) -> None:
    for _ in range(2):
        relay = probe.relay()
        probe.write_all(["a"], each=3)
        probe.assert_each_once_in_order()
        relay.popen.terminate()
        assert relay.wait(10) == 0


def test_migrations_that_many_processes_start_at_once_are_applied_once(
    stack: Stack, tmp_path: Path
) -> None:
    url = stack.create_database(f"migrations_{threading.get_native_id()}")
    (tmp_path / "0001.first.sql").write_text(
        "CREATE TABLE first (n int); INSERT INTO first VALUES (1);"
    )
    (tmp_path / "0002.second.sql").write_text("INSERT INTO first VALUES (2);")
    assert postgres.pending(url, tmp_path) == ["0001.first", "0002.second"]
    with ThreadPoolExecutor(4) as pool:
        applied = [
            done.result()
            for done in [pool.submit(postgres.migrate, url, tmp_path) for _ in range(4)]
        ]
    assert sorted(applied, key=len)[-1] == ["0001.first", "0002.second"]
    assert sum(map(len, applied)) == 2
    (tmp_path / "0003.third.sql").write_text("INSERT INTO first VALUES (3);")
    assert postgres.migrate(url, tmp_path) == ["0003.third"]
    assert postgres.migrate(url, tmp_path) == []
    with postgres.connect(database_settings(url), application_name="upkeep") as connection:
        assert connection.execute("SELECT array_agg(n ORDER BY n) FROM first").fetchone() == (
            [1, 2, 3],
        )


def test_a_failure_that_time_heals_is_told_from_a_fault(connection: Connection) -> None:
    with pytest.raises(postgres.DatabaseError) as fault:
        connection.execute("SELECT 1 / 0")
    assert postgres.transient(fault.value) is None
    with pytest.raises(postgres.DatabaseError) as cancelled:
        connection.execute("SET statement_timeout = 50; SELECT pg_sleep(10)")
    assert type(postgres.transient(cancelled.value)) is Contention
    with pytest.raises(postgres.DatabaseError) as gone:
        connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")
    assert isinstance(postgres.transient(gone.value), Unavailable)
    with pytest.raises(Unavailable, match="the database is away"):
        postgres.connect(
            database_settings("postgresql://nobody@127.0.0.1:1/none"), application_name="upkeep"
        )
