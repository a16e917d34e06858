"""Which dead letters are open, whatever order letters and dispositions are read in."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orderflow.messaging.dead_letters.open_letters import OpenCount, OpenLetters, letter_of
from orderflow.messaging.kafka.place import Place

DLT: Place = ("orders.group.dlt", 0)
SECOND: Place = ("orders.group.dlt", 1)


def key(offset: int, place: Place = DLT) -> bytes:
    return f"{place[0]}/{place[1]}/{offset}".encode()


def with_letters(*offsets: int, **limits: int) -> OpenLetters:
    letters = OpenLetters(**limits)
    for offset in offsets:
        letters.add_letter(DLT, offset, 100.0 + offset)
    return letters


def test_a_letter_is_open_until_it_has_a_disposition_and_again_once_that_is_taken_back() -> None:
    letters = with_letters(3, 7, 8)
    assert letters.count(DLT) == OpenCount(letters=3, oldest_written_s=103.0)
    letters.add_disposition(key(3), is_there=True)
    letters.add_disposition(key(3), is_there=True)
    assert letters.count(DLT) == OpenCount(letters=2, oldest_written_s=107.0)
    letters.add_disposition(key(3), is_there=False)
    assert letters.count(DLT) == OpenCount(letters=3, oldest_written_s=103.0)
    for offset in (3, 7, 8):
        letters.add_disposition(key(offset), is_there=True)
    assert letters.count(DLT) == OpenCount(letters=0, oldest_written_s=None)


def test_what_is_no_letter_or_no_key_changes_nothing() -> None:
    letters = with_letters(3)
    endless = b"orders.group.dlt/0/" + b"9" * 5_000
    for text in (None, b"", b"\xff", b"a/0", b"orders.group.dlt/0/-3", key(2), endless):
        letters.add_disposition(text, is_there=True)
    assert letters.count(DLT).letters == 1
    assert letters.count(SECOND).letters == 0
    assert letter_of(b"a/b/1/2") is None, "no topic has such a name"
    assert letter_of(key(3)) == (DLT, 3)


def test_letters_that_retention_deleted_and_topics_that_are_gone_are_not_open() -> None:
    letters = with_letters(3, 7, 8)
    letters.add_disposition(key(3), is_there=True)
    letters.forget_below(DLT, 8)
    assert letters.count(DLT) == OpenCount(letters=1, oldest_written_s=108.0)
    letters.forget(DLT)
    assert letters.count(DLT).letters == 0


def test_above_the_limit_letters_count_as_open_and_early_dispositions_are_dropped() -> None:
    letters = with_letters(1, 2, 3, letters_max=2, early_max=1)
    letters.add_disposition(key(3), is_there=True)
    assert letters.count(DLT).letters == 3
    letters.add_disposition(key(4), is_there=True)
    letters.add_disposition(key(5), is_there=True)
    letters.add_letter(SECOND, 1, 1.0)
    assert letters.by_topic([DLT, SECOND]) == {DLT[0]: OpenCount(letters=4, oldest_written_s=1.0)}


@given(st.data())
def test_the_count_is_exact_whatever_is_read_first(data: st.DataObject) -> None:
    offsets = data.draw(st.lists(st.integers(0, 30), unique=True).map(sorted))
    said = data.draw(st.lists(st.tuples(st.integers(0, 30), st.booleans()), max_size=30))
    first = data.draw(st.integers(0, 31))
    letters, left, saying = OpenLetters(), list(offsets), list(said)

    while left or saying:
        if left and (not saying or data.draw(st.booleans())):
            letters.add_letter(DLT, left[0], float(left.pop(0)))
        else:
            offset, is_there = saying.pop(0)
            letters.add_disposition(key(offset), is_there=is_there)
    letters.forget_below(DLT, first)

    last_words = dict(said)
    open_offsets = [
        offset for offset in offsets if offset >= first and not last_words.get(offset, False)
    ]
    assert letters.count(DLT) == OpenCount(
        letters=len(open_offsets), oldest_written_s=open_offsets[0] if open_offsets else None
    )
