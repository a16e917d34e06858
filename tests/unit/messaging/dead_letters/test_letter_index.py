"""Which letters a replay sends, in which order, and which it holds."""

from __future__ import annotations

from collections import Counter, defaultdict

from hypothesis import given
from hypothesis import strategies as st
from tests.support.letters import a_letter

from orderflow.messaging.dead_letters.letter_index import HeldLetter, LetterIndex, Selection
from orderflow.messaging.dead_letters.letters import Letter
from orderflow.messaging.dead_letters.replay_plan import SHOWN_MAX, Held


def select(*letters: Letter, meant: set[int] | None = None, keep_order: bool = True) -> Selection:
    index = LetterIndex(replays_max=3)
    for letter in letters:
        index.add(letter, is_meant=meant is None or letter.id.offset in meant)
    return index.select(keep_order=keep_order)


def test_letters_of_one_key_go_in_the_order_of_their_originals() -> None:
    selection = select(
        a_letter(0, original=9, key=b"a"),
        a_letter(1, original=4, key=b"b"),
        a_letter(2, original=3, key=b"a"),
        a_letter(3, original=5, key=b"a"),
    )
    assert [*selection.offsets] == [2, 1, 3, 0]
    assert not selection.held


def test_a_letter_does_not_overtake_an_older_one_that_stays() -> None:
    letters = [
        a_letter(0, original=1, key=b"a"),
        a_letter(1, original=2, key=b"a"),
        a_letter(2, original=3, key=b"b"),
    ]
    selection = select(*letters, meant={1, 2})
    assert [*selection.offsets] == [2]
    assert selection.shown == [HeldLetter(1, Held.OLDER_OPEN, 0)]
    assert [*select(*letters, meant={1, 2}, keep_order=False).offsets] == [1, 2]
    assert [*select(*letters, meant={0, 2}).offsets] == [0, 2], "the later one may stay behind"


def test_what_is_parked_cut_or_foreign_stays_and_holds_its_key() -> None:
    selection = select(
        a_letter(0, original=1, key=b"a", replays=3),
        a_letter(1, original=2, key=b"a"),
        a_letter(2, original=3, key=b"b", cut=("value",)),
        a_letter(3, original=None, key=b"c"),
        a_letter(4, original=1, key=b"d", replays=2),
    )
    assert [*selection.offsets] == [4]
    assert selection.held == {
        Held.PARKED: 1,
        Held.OLDER_OPEN: 1,
        Held.CUT: 1,
        Held.FOREIGN: 1,
    }


def test_no_key_is_a_key_as_a_listener_has_it() -> None:
    letters = [a_letter(0, original=2, key=None), a_letter(1, original=1, key=b"")]
    assert [*select(*letters).offsets] == [1, 0]


def test_of_many_held_letters_the_first_are_shown_and_all_are_counted() -> None:
    letters = [a_letter(n, original=n, key=b"%d" % n, replays=9) for n in range(SHOWN_MAX * 4)]
    selection = select(*letters)
    assert selection.held == {Held.PARKED: SHOWN_MAX * 4}
    assert [it.offset for it in selection.shown] == [*range(SHOWN_MAX)]


LETTERS = st.lists(
    st.tuples(
        st.sampled_from([b"a", b"b", b"c"]),
        st.none() | st.integers(0, 20),
        st.booleans(),
        st.sampled_from([0, 3]),
    ),
    max_size=25,
)


@given(LETTERS)
def test_order_holds_whatever_is_meant(
    drawn: list[tuple[bytes, int | None, bool, int]],
) -> None:
    letters = [
        a_letter(offset, original=original, key=key, replays=replays)
        for offset, (key, original, _meant, replays) in enumerate(drawn)
    ]
    meant = {offset for offset, (*_, is_meant, _replays) in enumerate(drawn) if is_meant}
    selection = select(*letters, meant=meant)

    sent = [*selection.offsets]
    assert len(set(sent)) == len(sent)
    assert set(sent) <= meant
    assert len(sent) + selection.held.total() == len(meant), "each that is meant is in one place"
    originals: dict[bytes | None, list[float]] = defaultdict(list)
    for offset in sent:
        originals[letters[offset].key].append(_original(letters[offset]))
    for key, order in originals.items():
        assert order == sorted(order)
        stays = [_original(it) for it in letters if it.key == key and it.id.offset not in set(sent)]
        assert not stays or max(order) <= min(stays)
    assert sorted(sent) == sorted(set(sent))
    assert Counter(letters[offset].evidence.replays for offset in sent).keys() <= {0}


def _original(letter: Letter) -> float:
    offset = letter.evidence.original_offset
    return float("inf") if offset is None else offset
