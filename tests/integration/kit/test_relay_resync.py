"""
`orderflow relay resync`: after a refusal everything that the database has is on Kafka, and the
relay goes on.

The databases here are of several kinds: with a dropped slot, without a position, another one, an
older copy of itself.
"""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.support.kafka_tools import orderflow
from tests.support.outbox_probe import Probe, drop_slot, forget_position, probe_service
from tests.support.stack import Stack

from orderflow.messaging.errors import Refused
from orderflow.messaging.relay import RelaySettings
from orderflow.messaging.relay.resync import resync
from orderflow.messaging.settings import DatabaseSettings
from orderflow.messaging.testing.eventually import eventually

KEYS = [f"key-{number:02d}" for number in range(40)]
CONFIRMED_TWICE_S = 5.0


@pytest.fixture
def probe(stack: Stack, tmp_path: Path) -> Iterator[Probe]:
    with probe_service(stack, tmp_path) as deployed:
        yield deployed


def lose_slot(probe: Probe) -> None:
    drop_slot(probe.stack, probe.name)


def lose_position(probe: Probe) -> None:
    eventually(
        lambda: forget_position(probe), within_s=30, why="the group is empty and can be deleted"
    )


def lose_both(probe: Probe) -> None:
    lose_slot(probe)
    lose_position(probe)


def published(probe: Probe) -> None:
    """Some rows are on Kafka, and the relay has stopped."""
    relay = probe.relay()
    probe.write_all(KEYS, each=3)
    probe.assert_each_once_in_order()
    relay.popen.terminate()
    assert relay.wait() == 0


def write_against_the_clock(probe: Probe, key: str) -> None:
    """
    Two transactions on one key: the one that began first commits last, as after waiting for a
    row's lock.
    """
    with probe.connection() as late, probe.connection() as early:
        late.execute("SELECT now()")
        probe.write(early, key)
        probe.write(late, key)


def assert_refuses(probe: Probe, reason: str) -> None:
    relay = probe.relay(wait=False)
    assert relay.wait() == 3, relay.log.read_text()
    assert relay.logged(reason), relay.log.read_text()


def assert_nothing_is_lost(probe: Probe, *, once: set[str]) -> None:
    """
    Every committed id is there and no other one, those of `once` came once, each key's last ones
    are in order.
    """
    wanted = probe.expected()
    eventually(
        lambda: set(wanted) <= ids(probe),
        within_s=60,
        every_s=0.5,
        why="every committed row is on the topic",
    )
    scanned = probe.published()
    published = Counter(event_id for ids in scanned.values() for event_id in ids)
    assert set(published) == set(wanted)
    assert {event_id: published[event_id] for event_id in once if published[event_id] != 1} == {}
    for key, committed in probe.committed.items():
        assert scanned[key][-len(committed) :] == [str(event_id) for event_id in committed]


def ids(probe: Probe) -> set[str]:
    return {event_id for ids in probe.published().values() for event_id in ids}


@pytest.mark.parametrize(
    ("lose", "reason"),
    [
        (lose_slot, "was dropped"),
        (lose_position, "is missing"),
        (lose_both, "nobody would publish"),
    ],
)
def test_after_a_resync_everything_committed_is_on_the_topic_in_order(
    probe: Probe, lose: Callable[[Probe], None], reason: str
) -> None:
    """And the relay continues behind it."""
    published(probe)
    before = set(probe.expected())
    lose(probe)
    probe.write_all(KEYS, each=2)
    write_against_the_clock(probe, KEYS[0])
    assert_refuses(probe, reason)
    done = probe.resync()
    assert done.popen.returncode == 0, done.log.read_text()
    probe.relay()
    probe.write_all(KEYS, each=2)
    write_against_the_clock(probe, KEYS[0])
    assert_nothing_is_lost(probe, once=set(probe.expected()) - before)


@pytest.mark.parametrize(
    "point", ["resync.after_mark=kill@1", "resync.after_rows=kill@1", "resync.after_rows=kill@2"]
)
def test_a_resync_killed_half_way_leaves_a_relay_that_refuses_and_can_be_run_again(
    probe: Probe, point: str
) -> None:
    published(probe)
    lose_slot(probe)
    probe.write_all(KEYS, each=1)
    assert probe.resync(failpoints=point).popen.returncode == -9
    assert_refuses(probe, "a resync was begun and did not end")
    assert probe.resync().popen.returncode == 0
    probe.relay()
    probe.write_all(KEYS, each=1)
    assert_nothing_is_lost(probe, once=set())


def test_a_resync_beside_a_running_relay_is_refused_and_changes_nothing(probe: Probe) -> None:
    running = probe.relay()
    probe.write_all(KEYS, each=1)
    database = DatabaseSettings.model_validate({"dsn": probe.database_url})
    with pytest.raises(Refused, match=r"is running \(backend \d+ reads slot .*stop it first"):
        resync(RelaySettings(service=probe.name, database=database, kafka=probe.kafka))
    probe.write_all(KEYS, each=1)
    probe.assert_each_once_in_order()
    assert running.popen.poll() is None


def test_an_idle_relay_confirms_no_more_than_its_committed_position(
    probe: Probe,
) -> None:
    """
    The server's log grows by what is not for us: to confirm that before Kafka has the position
    would be a lie.
    """
    relay = probe.relay()
    probe.write_all(["a"], each=3)
    probe.assert_each_once_in_order()
    with probe.connection() as connection:
        connection.execute("CREATE TABLE elsewhere (n int)")
        connection.execute("INSERT INTO elsewhere SELECT generate_series(1, 1000)")
        connection.commit()
        moment = connection.execute("SELECT clock_timestamp()").fetchone()
        assert moment is not None

        def confirmed_twice() -> bool:
            row = connection.execute(
                "SELECT reply_time > %s + make_interval(secs => %s) FROM pg_stat_replication"
                " WHERE application_name = %s",
                (moment[0], CONFIRMED_TWICE_S, f"relay_{probe.name}"),
            ).fetchone()
            connection.rollback()
            return bool(row and row[0])

        eventually(confirmed_twice, within_s=30, why="the relay has confirmed since")
    relay.popen.kill()
    relay.wait()
    probe.relay()
    probe.write_all(["a"], each=3)
    probe.assert_each_once_in_order()


def test_the_command_names_what_it_can_not_do(stack: Stack) -> None:
    for arguments, words in (
        (("relay", "resync", "nobody", "--yes"), "no service is called 'nobody'"),
        (("relay", "resync", "order"), "say --yes"),
    ):
        failed = run(stack, *arguments, database=stack.postgres_url("postgres"))
        assert failed.returncode != 0
        assert words in failed.stderr, failed.stderr
    failed = run(
        stack, "relay", "resync", "order", "--yes", database=stack.postgres_url("postgres")
    )
    assert failed.returncode == 2
    assert "the database of order has no outbox" in failed.stderr


def run(stack: Stack, *arguments: str, database: str) -> subprocess.CompletedProcess[str]:
    return orderflow(stack, *arguments, ORDERFLOW_ORDER__DATABASE__DSN=database)
