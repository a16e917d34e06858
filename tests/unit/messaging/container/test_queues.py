"""
Queues give out heads of keys only, one of each key, and records that failed alone by themselves.
"""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from orderflow.messaging.container.records.partition import Partition
from orderflow.messaging.container.records.queues import Queues
from orderflow.messaging.container.records.record import Record, State
from orderflow.messaging.kafka.finished_offsets import Window
from orderflow.messaging.testing.memory_broker import Message
from orderflow.messaging.testing.memory_clock import MemoryClock


def record(partition: Partition, offset: int, key: str) -> Record:
    message = Message(("t", 0), offset, ("t", key.encode(), b"", []))
    admitted = partition.admit(message)
    assert admitted is not None
    admitted.progress.state = State.READY
    return admitted


def queues() -> Queues:
    return Queues(MemoryClock())


def filled(keys: str) -> tuple[Queues, list[Record]]:
    partition, filling = Partition("t", 0, Window(0)), queues()
    records = [record(partition, offset, key) for offset, key in enumerate(keys)]
    filling.ready.extend(records)
    return filling, records


def offsets(wave: list[Record]) -> list[int]:
    return [each.offset for each in wave]


def test_a_wave_has_only_the_first_unfinished_record_of_a_key() -> None:
    filling, _records = filled("abacb")
    assert offsets(filling.take_wave(10)) == [0, 1, 3]


def test_heads_of_one_key_in_two_partitions_are_two_waves() -> None:
    filling = queues()
    filling.ready.extend(record(Partition("t", number, Window(0)), 0, "a") for number in range(2))
    assert len(filling.take_wave(10)) == 1
    assert len(filling.take_wave(10)) == 1


def test_a_record_that_failed_alone_comes_by_itself_in_its_turn() -> None:
    filling, records = filled("abc")
    records[1].progress.attempts = 1
    assert offsets(filling.take_wave(10)) == [0]
    assert offsets(filling.take_wave(10)) == [1]
    assert offsets(filling.take_wave(10)) == [2]


def test_what_is_not_ready_or_belongs_to_somebody_else_is_left_out() -> None:
    filling, records = filled("abcd")
    records[0].progress.state = State.HANDLED
    records[2].progress.state = State.WAITING
    assert offsets(filling.take_wave(10)) == [1, 3]
    filling.put_back([records[1], records[3]])
    records[1].partition.gone = True
    assert filling.take_wave(10) == []


def test_a_wave_that_is_put_back_is_the_next_one() -> None:
    filling, _records = filled("abcd")
    wave = filling.take_wave(2)
    filling.put_back(wave)
    assert offsets(filling.take_wave(10)) == [0, 1, 2, 3]


@settings(deadline=None)
@given(st.text("abc", max_size=30), st.integers(1, 5))
def test_waves_give_each_record_once_and_keys_in_order(keys: str, at_most: int) -> None:
    filling, records = filled(keys)
    order: list[Record] = []
    while filling.ready:
        wave = filling.take_wave(at_most)
        assert len({each.key for each in wave}) == len(wave) <= at_most
        for each in wave:
            each.partition.finish(each)
            successor = each.partition.advance(each)
            if successor is not None:
                filling.ready.append(successor)
        order += wave
    assert {each.offset for each in order} == {each.offset for each in records}
    for key in set(keys):
        mine = [each.offset for each in order if each.key == key.encode()]
        assert mine == sorted(mine)
        assert len(mine) == keys.count(key)


def test_what_waits_is_due_in_its_time_within_a_fifth() -> None:
    clock = MemoryClock()
    filling = Queues(clock)
    waiting = record(Partition("t", 0, Window(0)), 0, "a")
    began = clock.monotonic()
    filling.wait(waiting, 10.0)
    due: Any = filling.next_due
    assert 8.0 <= due - began <= 12.0
    assert waiting.progress.state is State.WAITING
    assert filling.due(due - 0.1) == []
    assert filling.due(due) == [waiting]
    assert filling.next_due is None


def test_to_forget_leaves_ended_calls_alone() -> None:
    filling, records = filled("ab")
    filling.ended.append((records[0], "task", "answer", None))
    filling.wait(records[1], 1.0)
    filling.forget()
    assert (list(filling.ready), filling.next_due, len(filling.ended)) == ([], None, 1)
