"""The desk on the real broker: what it shows, what it sends, and what it leaves when it dies."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.support.dead_letters import LetterBox, letter_box
from tests.support.stack import Stack

from orderflow.messaging.dead_letters.desk import LetterGone
from orderflow.messaging.dead_letters.letter_place import LetterId
from orderflow.messaging.dead_letters.letters import LetterBalance, LetterFilter


@pytest.fixture
def box(stack: Stack) -> Iterator[LetterBox]:
    with letter_box(stack) as box:
        yield box


def test_what_the_desk_shows(box: LetterBox) -> None:
    box.fail(3, 5)
    box.fail(7, key=b"another", replays=3)
    assert [it.evidence.original_offset for it in box.desk.letters()] == [3, 5, 7]
    [row] = box.desk.summary()
    assert (row.letters, row.orders, row.parked, row.cause) == (3, 2, 1, "RecordFault")
    letter = box.desk.find(LetterId(box.dlt, 0, 1))
    assert letter.evidence.event_id == "event-5"
    for gone in (2, 99):
        with pytest.raises(LetterGone):
            box.desk.find(LetterId(box.dlt, 0, gone))
    assert box.desk.balance() == [LetterBalance(group=box.group, letters=3, open=3)]
    assert [*box.desk.letters(LetterFilter(group="nobody"))] == []
