"""
Rows that a topic refuses for good: they hold up their keys alone, and go, or do not go, when an
operator says so. On a real broker and a real database, with kills at every line that matters.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from uuid import UUID

import pytest
from tests.support.kafka_tools import orderflow
from tests.support.outbox_probe import Probe, drop_slot, probe_service
from tests.support.stack import Stack

from orderflow.messaging.errors import Unavailable
from orderflow.messaging.event import CE_ID
from orderflow.messaging.relay.held_rows import (
    DISCARD,
    RESEND,
    HeldRow,
    decisions,
    held_row,
    held_rows,
    note_wanted,
)
from orderflow.messaging.relay.held_store import HeldStore, Hold, delete_old_decisions
from orderflow.messaging.relay.records import ProducerRecord
from orderflow.messaging.testing.eventually import eventually

LIMIT, LARGE = 60_000, 90_000
"""What the topic takes, and the size of a row that it refuses."""

KEYS = [f"key-{number:03d}" for number in range(150)]
REFUSED = KEYS[::15]
"""Ten keys of which one row is too large."""


@pytest.fixture
def probe(stack: Stack, tmp_path: Path) -> Iterator[Probe]:
    with probe_service(stack, tmp_path) as deployed:
        deployed.set_record_bytes_max(LIMIT)
        yield deployed


def write_large(probe: Probe, keys: Sequence[str]) -> dict[str, UUID]:
    with probe.connection() as connection:
        return {key: probe.write(connection, key, size=LARGE) for key in keys}


def refused(probe: Probe) -> list[HeldRow]:
    return [row for row in held_rows(probe.settings) if row.why is not None]


def want(probe: Probe, event_ids: Sequence[UUID], wanted: str) -> None:
    noted = note_wanted(
        probe.settings, event_ids, wanted=wanted, by="anna", because="the limit was raised"
    )
    assert sorted(noted) == sorted(event_ids)


def command(probe: Probe, *words: str) -> str:
    """`orderflow relay held`, which takes the probe's database for that of `order`."""
    done = orderflow(
        probe.stack,
        *("relay", "held", *words, "--service", "order"),
        ORDERFLOW_ORDER__DATABASE__DSN=probe.database_url,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def ids_of(probe: Probe, keys: Sequence[str]) -> dict[str, list[str]]:
    return {key: [str(event_id) for event_id in probe.committed[key]] for key in keys}


def published(probe: Probe, keys: Sequence[str]) -> dict[str, list[str]]:
    scanned = probe.published()
    return {key: scanned.get(key, []) for key in keys}


def eventually_published(probe: Probe, wanted: dict[str, list[str]]) -> None:
    """Exactly these: each once, in the order of its key."""
    size = sum(map(len, wanted.values()))
    eventually(
        lambda: sum(map(len, published(probe, list(wanted)).values())) >= size,
        within_s=60,
        every_s=0.5,
        why="all that may go is published",
    )
    scanned = published(probe, list(wanted))
    assert {key: ids for key, ids in scanned.items() if ids != wanted[key]} == {}


def eventually_nothing_held(probe: Probe) -> None:
    eventually(
        lambda: not held_rows(probe.settings), within_s=30, every_s=0.2, why="no row is held"
    )


def test_ten_rows_that_are_too_large_hold_up_their_keys_alone(probe: Probe) -> None:
    """Others drain; after the limit was raised what is wanted goes, in the order of its key."""
    relay = probe.relay()
    for _ in range(5):
        probe.write_together(KEYS)
    too_large = write_large(probe, REFUSED)
    for _ in range(5):
        probe.write_together(KEYS)

    others = [key for key in KEYS if key not in REFUSED]
    eventually_published(probe, ids_of(probe, others))
    eventually(
        lambda: len(held_rows(probe.settings)) == 60, within_s=30, why="ten are held, 50 behind"
    )
    before = {key: ids[:5] for key, ids in ids_of(probe, REFUSED).items()}
    assert published(probe, REFUSED) == before
    assert {row.key: row.event_id for row in refused(probe)} == too_large
    assert all("MSG_SIZE_TOO_LARGE" in (row.why or "") for row in refused(probe))
    assert relay.logged("a row is held: the broker refuses it")

    # Too early: it is refused again, and stays.
    first, last = REFUSED[0], REFUSED[-1]
    want(probe, [too_large[first]], RESEND)
    eventually(
        lambda: any(row.refusals == 2 for row in refused(probe)), within_s=20, why="refused again"
    )
    assert [each.outcome for each in decisions(probe.settings, too_large[first])] == [
        "refused again"
    ]
    assert published(probe, REFUSED) == before

    content = held_row(probe.settings, too_large[first])
    assert content is not None
    assert (content.headers["ce_id"], len(content.payload)) == (str(too_large[first]), LARGE)

    probe.set_record_bytes_max(1_048_588)
    probe.write_together(REFUSED)
    command(probe, "discard", str(too_large[last]), "--reason", "ticket 4711")
    want(probe, [too_large[key] for key in REFUSED[:-1]], RESEND)
    eventually_nothing_held(probe)
    probe.write_together(REFUSED)
    wanted = ids_of(probe, KEYS)
    wanted[last].remove(str(too_large[last]))
    eventually_published(probe, wanted)

    (noted,) = decisions(probe.settings, too_large[last])
    assert (noted.outcome, noted.because) == ("discarded", "ticket 4711")
    assert [each.outcome for each in decisions(probe.settings, too_large[first])] == [
        "refused again",
        "sent",
    ]
    relay.popen.terminate()
    assert relay.wait() == 0


def test_killed_at_any_line_it_holds_each_row_once_and_sends_it_once(probe: Probe) -> None:
    keys = KEYS[:20]
    probe.relay(failpoints="relay.after_hold=kill@1")
    probe.write_together(keys)
    too_large = write_large(probe, keys[:3])
    probe.write_together(keys)
    died(probe)

    # Written down, and the position is not behind it yet; then the position is.
    probe.relay(failpoints="relay.after_send_offsets=kill@1", wait=False)
    died(probe)
    probe.relay(failpoints="relay.after_kafka_commit=kill@1", wait=False)
    died(probe)
    probe.write_together(keys)
    stopping = probe.relay()
    eventually_published(probe, ids_of(probe, keys[3:]))
    eventually(lambda: len(held_rows(probe.settings)) == 9, within_s=20, why="three for each key")
    assert {row.key: row.event_id for row in refused(probe)} == too_large
    stopping.popen.terminate()
    assert stopping.wait() == 0

    # Marked, and not sent; sent, and not committed; committed, and not known to be.
    probe.set_record_bytes_max(1_048_588)
    want(probe, [too_large[key] for key in keys[:2]], RESEND)
    want(probe, [too_large[keys[2]]], DISCARD)
    wanted = ids_of(probe, keys)
    wanted[keys[2]].remove(str(too_large[keys[2]]))
    for line in ("after_mark", "after_send_offsets", "after_kafka_commit"):
        probe.relay(failpoints=f"relay.{line}=kill@1", wait=False)
        died(probe)
    assert any(row.sending for row in held_rows(probe.settings))
    probe.relay()
    eventually_nothing_held(probe)
    probe.write_together(keys)
    eventually_published(
        probe, {key: [*wanted[key], *ids_of(probe, [key])[key][-1:]] for key in keys}
    )


def died(probe: Probe) -> None:
    """The relay that was started last."""
    assert probe.last is not None
    assert probe.last.wait() == -9, probe.last.log.read_text()


def test_rows_that_are_too_large_together_are_no_refused_rows(probe: Probe) -> None:
    """As when a topic takes less than what a client puts into one batch."""
    probe.set_record_bytes_max(10_000)
    probe.relay()
    probe.write_together(["one"] * 200, size=400)
    probe.write_together(KEYS)
    probe.assert_each_once_in_order()
    assert held_rows(probe.settings) == []

    # Now among batches that are sent apart.
    large = write_large(probe, ["large"])
    probe.write_together(["one"] * 200, size=400)
    eventually_published(probe, ids_of(probe, ["one", *KEYS]))
    assert [row.event_id for row in held_rows(probe.settings)] == list(large.values())


def test_a_resync_leaves_held_what_is_held_and_what_is_refused_now(probe: Probe) -> None:
    keys = KEYS[:12]
    relay = probe.relay()
    probe.write_together(keys)
    held = write_large(probe, keys[:2])
    eventually(lambda: len(held_rows(probe.settings)) == 2, within_s=20, why="two are held")
    relay.popen.terminate()
    assert relay.wait() == 0

    drop_slot(probe.stack, probe.name)
    held |= write_large(probe, keys[2:4])
    probe.write_together(keys)
    done = probe.resync()
    assert done.popen.returncode == 0, done.log.read_text()
    assert {row.key: row.event_id for row in refused(probe)} == held
    assert len(held_rows(probe.settings)) == 8, "and one behind each"

    probe.set_record_bytes_max(1_048_588)
    probe.relay()
    want(probe, list(held.values()), RESEND)
    eventually_nothing_held(probe)
    wanted = ids_of(probe, keys)
    eventually(
        lambda: all(
            published(probe, [key])[key][-len(wanted[key]) :] == wanted[key] for key in keys
        ),
        within_s=30,
        every_s=0.5,
        why="all are there in their order, the first ones twice",
    )


def test_who_does_not_read_the_slot_changes_nothing_that_is_held(probe: Probe) -> None:
    """A relay that was stopped for so long that another one has taken its place."""
    row = ProducerRecord(probe.topic, b"k", b"v", [(CE_ID, str(UUID(int=7)).encode())])
    with probe.connection() as connection:
        connection.autocommit = True
        stopped = HeldStore(connection, reader=(f"relay_{probe.name}", 1))
        with pytest.raises(Unavailable, match="another process reads the slot"):
            stopped.hold([Hold(row, 1, "refused")])
    assert held_rows(probe.settings) == []


def test_the_table_knows_what_is_held_what_is_wanted_and_what_was_sent(probe: Probe) -> None:
    """Two transactions with held rows, before the position of either was read back."""
    ids = [UUID(int=number) for number in range(1, 4)]
    first, behind, other = ids
    with probe.connection() as connection:
        connection.autocommit = True
        store = HeldStore(connection, reader=None)
        rows = [record(probe, event_id, b"k" if event_id != other else b"l") for event_id in ids]
        store.hold([Hold(rows[0], 5, 'why "x"'), Hold(rows[1], 5, None), Hold(rows[2], 9, "w")])
        store.hold([Hold(rows[0], 7, "written by a successor")])
        assert [row.event_id for row in store.load(position=6, resent=0)] == [first, behind]
        assert (list(store.ahead), store.held) == ([str(other)], 3)

        noted = note_wanted(probe.settings, [first, behind], wanted=RESEND, by="a", because="b")
        assert noted == [first], "nothing is to be decided about a row that waits behind"
        assert store.mark(store.load(position=9, resent=0)[:2], 1) == rows[:2]
        assert note_wanted(probe.settings, [first], wanted=DISCARD, by="a", because="b") == []

        # Sent by transaction 1, and another one by 2: the first mark stays.
        want(probe, [other], DISCARD)
        assert store.mark(store.load(position=9, resent=1), 2) == []
        stopped = HeldStore(connection, reader=(f"relay_{probe.name}", 1))
        stopped.unmark(0)
        stopped.refused_again([(first, "z")])
        assert all(row.sending for row in held_rows(probe.settings))
        store.settle(1)
        assert [row.event_id for row in held_rows(probe.settings)] == [other]
        store.settle(2)
    assert held_rows(probe.settings) == []
    outcomes = [decisions(probe.settings, event_id)[-1].outcome for event_id in (first, other)]
    assert outcomes == ["sent", "discarded"]


def record(probe: Probe, event_id: UUID, key: bytes) -> ProducerRecord:
    headers = [(CE_ID, str(event_id).encode()), ("ce_type", b'T"\\\n')]
    return ProducerRecord(probe.topic, key, b"v\x00\xff", headers)


def test_what_was_decided_is_kept_for_35_days(probe: Probe) -> None:
    with probe.connection() as connection:
        for number, days in enumerate((34, 36)):
            connection.execute(
                "INSERT INTO relay_held_decision (event_id, topic, key, type, held_since, why,"
                " refusals, wanted, wanted_by, because, wanted_at, outcome, decided_at)"
                " VALUES (%s, 't', 'k', 'T', now(), 'w', 1, 'resend', 'anna', 'b', now(), 'sent',"
                " now() - make_interval(days => %s))",
                (UUID(int=number), days),
            )
        delete_old_decisions(connection)
        connection.commit()
    assert [len(decisions(probe.settings, UUID(int=number))) for number in (0, 1)] == [1, 0]
