"""A write outside Kafka is durable before its offset: gathered, repeated, put back, given up."""

from __future__ import annotations

from collections.abc import Sequence

from tests.support.memory_listener import ASKED, DLT, GROUP, NAME, TURN_S
from tests.support.probe_language import NAMESPACE, Asked, asked, catalogue

from orderflow.messaging.errors import RecordFault, Unavailable
from orderflow.messaging.kafka.group_topics import replay_topic
from orderflow.messaging.listener import IdempotentWrite, Listener, Received, RetryPolicy
from orderflow.messaging.testing.bus import Bus, Fault, Faults

Written = tuple[str, int]


class Writing:
    """A listener whose handler writes into a set, and the batches that it was given."""

    def __init__(
        self,
        *,
        gather_records: int = 500,
        gather_s: float = 0.0,
        faults: Faults | None = None,
        seed: int = 0,
    ) -> None:
        self.batches: list[list[Written]] = []
        self.written: set[Written] = set()
        self.received: list[Received] = []
        self.away = False
        listener = Listener(
            name=NAME,
            group=GROUP,
            source="/probe",
            namespace=NAMESPACE,
            topics=(ASKED,),
            handles=(Asked,),
            delivery=IdempotentWrite(
                handler=self._write, gather_records=gather_records, gather_s=gather_s
            ),
            retry=RetryPolicy(back_off_s=(2.0,)),
        )
        self.bus = Bus(
            (listener,), catalogue=catalogue(NAME), faults=faults or Faults(wave_max=500), seed=seed
        )
        self.worker = self.bus.workers[NAME][0]

    def ask(self, *keys: str, number: int = 0, behaviour: str = "") -> None:
        for key in keys:
            self.bus.publish(ASKED.name, asked(key, number, behaviour))

    def turns(self, seconds: float) -> None:
        for _ in range(int(seconds / TURN_S)):
            self.bus.clock.advance(TURN_S)
            self.worker.turn()

    @property
    def lag(self) -> int:
        return self.bus.broker.lag(GROUP, [ASKED.name])

    def _write(self, batch: Sequence[Received]) -> None:
        self.batches.append([(record.event.id, record.event.number) for record in batch])
        self.received += batch
        if self.away:
            raise Unavailable("told to be away", resource="store", reason="its disk is full")
        for record in batch:
            if record.event.behaviour == "fault":
                raise RecordFault("told to be at fault")
            self.written.add((record.event.id, record.event.number))


def test_records_are_gathered_for_a_time_and_written_together() -> None:
    writing = Writing(gather_s=5.0)
    writing.turns(1)
    writing.ask("a")
    writing.turns(0.5)
    assert writing.batches == [[("a", 0)]], "after a rest at once"
    for key in "bcd":
        writing.ask(key)
        writing.turns(1)
    assert writing.batches == [[("a", 0)]]
    writing.turns(2)
    assert sorted(writing.batches[1]) == [("b", 0), ("c", 0), ("d", 0)]
    writing.turns(1)
    assert writing.lag == 0


def test_so_many_records_end_the_gathering() -> None:
    writing = Writing(gather_records=4, gather_s=60.0)
    writing.ask("a")
    writing.turns(1)
    writing.ask(*"bcd")
    writing.turns(1)
    assert len(writing.batches) == 1
    writing.ask("e")
    writing.turns(0.5)
    assert sorted(writing.batches[1]) == [(key, 0) for key in "bcde"]


def test_the_next_of_a_key_is_written_in_the_same_turn() -> None:
    writing = Writing(gather_records=4, gather_s=60.0)
    writing.ask("z")
    writing.turns(1)
    for number in range(2):
        writing.ask("a", "b", number=number)
    writing.turns(0.5)
    assert [sorted(batch) for batch in writing.batches[1:]] == [
        [("a", 0), ("b", 0)],
        [("a", 1), ("b", 1)],
    ]


def test_nothing_is_acknowledged_while_the_store_is_away_and_it_heals_by_itself() -> None:
    writing = Writing(gather_s=5.0)
    writing.away = True
    writing.ask(*"abcdef")
    writing.turns(10)
    assert (writing.written, writing.lag) == (set(), 6)
    assert writing.worker.container.reasons() == ["listener probe: store: its disk is full"]
    assert [len(batch) for batch in writing.batches[1:]] == [1] * (len(writing.batches) - 1)
    assert len(writing.batches) < 12, "one probe a back-off"
    writing.away = False
    writing.bus.run()
    assert writing.written == {(key, 0) for key in "abcdef"}
    assert (writing.lag, writing.worker.container.reasons()) == (0, [])
    assert writing.bus.records(DLT) == []


def test_what_is_written_and_not_committed_is_written_again() -> None:
    writing = Writing()
    writing.turns(1)
    writing.ask(*"abc")
    writing.bus.broker.planned.append(Fault.COMMIT_REFUSED)
    writing.turns(0.25)
    assert len(writing.written) == 3
    assert writing.lag == 3
    writing.worker.restart()
    writing.bus.run()
    given = [written for batch in writing.batches for written in batch]
    assert sorted(given) == sorted([(key, 0) for key in "abc"] * 2)
    assert writing.lag == 0


def test_a_record_at_fault_is_a_dead_letter_and_its_neighbours_are_written() -> None:
    writing = Writing()
    writing.ask("a", "b")
    writing.ask("bad", behaviour="fault")
    writing.ask("c", "d")
    writing.bus.run()
    assert writing.written == {(key, 0) for key in "abcd"}
    [letter] = writing.bus.records(DLT)
    assert letter.key() == b"bad"
    assert writing.lag == 0


def test_a_replay_says_which_record_it_replays() -> None:
    writing = Writing()
    writing.ask("a", "b")
    writing.ask("bad", behaviour="fault")
    writing.bus.run()
    [letter], [bad] = (
        writing.bus.records(DLT),
        [record for record in writing.bus.records(ASKED.name) if record.key() == b"bad"],
    )
    replay = replay_topic(ASKED, GROUP).name
    writing.received.clear()
    writing.bus.append([(replay, letter.key(), letter.value(), letter.headers())])
    # Such headers on the topic itself are anybody's.
    writing.bus.append([(ASKED.name, letter.key(), letter.value(), letter.headers())])
    writing.bus.run()
    originals = {record.topic: record.original for record in writing.received}
    assert originals == {
        replay: (ASKED.name, bad.partition(), bad.offset()),
        ASKED.name: None,
    }


def test_under_every_fault_all_is_written() -> None:
    for seed in range(5):
        faults = Faults(
            repeat=0.1, abort=0.2, unknown=0.1, expel=0.1, refuse=0.2, crash=0.1, wave_max=4
        )
        writing = Writing(gather_records=3, gather_s=0.5, faults=faults, seed=seed)
        keys = [f"key-{number}" for number in range(12)]
        for number in range(3):
            writing.ask(*keys, number=number)
        writing.bus.run()
        assert writing.written == {(key, number) for key in keys for number in range(3)}
        assert writing.lag == 0


def test_what_is_gathered_is_written_before_the_worker_leaves() -> None:
    writing = Writing(gather_s=60.0)
    writing.ask("a")
    writing.turns(1)
    writing.ask("b")
    writing.turns(1)
    assert ("b", 0) not in writing.written
    writing.worker.stop()
    assert ("b", 0) in writing.written
    assert writing.lag == 0
