"""
A partition's window: what is committed is never more than what is finished, whatever the order.
"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orderflow.messaging.container.records.partition import BEGINNING, Partition, restored
from orderflow.messaging.container.records.record import Record, State
from orderflow.messaging.errors import ConfigurationError
from orderflow.messaging.kafka.finished_offsets import Window, encode
from orderflow.messaging.testing.memory_broker import Message


def message(offset: int, key: str = "a") -> Message:
    return Message(("t", 0), offset, ("t", key.encode(), b"", []))


def fresh(window: Window | None = None) -> Partition:
    return Partition("t", 0, window or Window(BEGINNING))


def admitted(partition: Partition, offset: int, key: str = "a") -> Record:
    record = partition.admit(message(offset, key))
    assert record is not None
    return record


def test_a_lane_gives_one_record_after_the_other() -> None:
    partition = fresh()
    first, second = admitted(partition, 0), admitted(partition, 1)
    assert (first.is_head, second.is_head) == (True, False)
    assert partition.advance(first) is second
    assert second.is_head
    assert partition.advance(second) is None


def test_a_record_that_is_put_back_is_before_the_others_of_its_key_even_if_the_lane_was_empty() -> (
    None
):
    partition = fresh()
    first, second = admitted(partition, 0), admitted(partition, 1)
    partition.advance(first)
    partition.advance(second)
    partition.put_back(second)
    partition.put_back(first)
    third = admitted(partition, 2)
    assert (first.is_head, second.is_head, third.is_head) == (True, False, False)
    assert first.progress.state is State.READY


def test_handled_records_count_as_finished_only_in_the_transaction_that_commits_them() -> None:
    partition = fresh()
    record = admitted(partition, 0)
    admitted(partition, 1, "b")
    record.progress.state = State.HANDLED
    assert partition.window(include_handled=True) == Window(2, (1,))
    assert partition.window(include_handled=False) == Window(2, (0, 1))
    partition.finish(record)
    assert partition.window(include_handled=False) == Window(2, (1,))
    assert partition.changed


def test_an_offset_that_was_never_delivered_counts_as_finished() -> None:
    partition = fresh()
    partition.finish(admitted(partition, 3))
    assert partition.window(include_handled=False) == Window(4)


def test_a_restored_window_lets_only_unfinished_records_in_again() -> None:
    partition = fresh(Window(6, (2, 4)))
    assert partition.admit(message(2)) is not None
    assert partition.admit(message(3)) is None
    assert partition.admit(message(5)) is None
    assert partition.admit(message(6)) is not None
    # 4 was passed over: the log does not have it any more.
    assert partition.window(include_handled=False).unfinished == (2, 6)


def test_the_end_is_reached_only_when_nothing_is_held_back() -> None:
    partition = fresh()
    partition.finish(admitted(partition, 0))
    partition.eof = 5
    partition.held.append(message(3))
    partition.reach_eof()
    assert partition.next == 1
    partition.held.clear()
    partition.reach_eof()
    assert partition.window(include_handled=False) == Window(5)


def test_restored_reads_offset_and_metadata_and_nothing_that_is_not_ours() -> None:
    window = Window(9, (4, 7))
    assert restored(("t", 1), 4, encode(window)).window(include_handled=False) == window
    assert restored(("t", 1), 4, "somebody else's").window(include_handled=False) == Window(4)
    assert restored(("t", 1), -1001, "").start == BEGINNING
    newer = "ofw" + "/wAA"
    with pytest.raises(ConfigurationError, match="newer version"):
        restored(("t", 1), 4, newer)


def test_one_record_that_waits_lets_millions_pass_and_the_partition_goes_on() -> None:
    partition = fresh()
    admitted(partition, 0)
    in_flight: list[Record] = []
    for offset in range(1, 5_220_000, 2_001):
        assert partition.may_admit(offset)
        in_flight.append(admitted(partition, offset, f"key-{offset}"))
        if len(in_flight) > 400:
            partition.finish(in_flight.pop(0))
        assert partition.may_resume()
        encode(partition.window(include_handled=False))
    assert partition.window(include_handled=False).base == 0


def test_offsets_that_the_log_does_not_have_any_more_do_not_fill_the_window() -> None:
    partition = fresh(Window(2_000, tuple(range(0, 2_000, 2))))
    assert partition.may_admit(2**32)
    assert partition.window(include_handled=False).unfinished == ()


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=60))
def test_what_is_committed_and_restored_gives_exactly_the_unfinished_records_again(
    records: list[tuple[str, bool]],
) -> None:
    partition = fresh()
    unfinished = []
    for offset, (key, finishes) in enumerate(records):
        record = admitted(partition, offset, key)
        if finishes:
            partition.finish(record)
        else:
            unfinished.append(offset)
    window = partition.window(include_handled=False)
    again = restored(("t", 0), window.base, encode(window))
    came = [
        offset
        for offset in range(max(window.base, 0), len(records))
        if again.admit(message(offset)) is not None
    ]
    assert came == unfinished


def test_a_paused_partition_is_fetched_again_if_its_restored_window_is_still_to_come() -> None:
    """However many those are: paused for ever, they would never come."""
    partition = fresh(Window(4_000, tuple(range(0, 4_000, 2))))
    assert partition.may_resume()
    for offset in range(0, 4_000, 2):
        admitted(partition, offset, f"key-{offset}")
    assert not partition.may_resume()
