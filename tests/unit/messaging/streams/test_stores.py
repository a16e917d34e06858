"""What `store.py` promises, of stores on disk and of their twins in memory alike."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orderflow.messaging.streams.store.memory_store import MemoryStores
from orderflow.messaging.streams.store.sqlite_store import SqliteStores
from orderflow.messaging.streams.store.store import (
    ChangelogPosition,
    Changes,
    Entry,
    StateStores,
    Store,
    StoreDamaged,
    StorePosition,
    StoreReader,
    StoreTaken,
)

NAME = "table-0"
ALL = 10_000
KEYS = [b"", b"\0", b"a", b"a\0", b"ab", b"b", "ü".encode(), b"\xff", b"\xff\xff"]
RANKS = ["EUR", "USD", "né"]
FACTS = [number.to_bytes(16, "big") for number in range(12)]


@pytest.fixture(params=["memory", "disk"])
def stores(request: pytest.FixtureRequest, tmp_path: Path) -> StateStores:
    return MemoryStores() if request.param == "memory" else SqliteStores(tmp_path / "state")


def at(offset: int) -> StorePosition:
    return StorePosition((ChangelogPosition("log", "topic-id", offset),), input=offset * 10)


def opened(stores: StateStores, name: str = NAME) -> Store:
    store, why = stores.open(name)
    assert why == ""
    return store


def everything(reader: StoreReader) -> dict[bytes, bytes]:
    # No key of the tests is greater.
    return {entry.key: entry.value for entry in reader.between(b"", b"\xff" * 3, ALL)[0]}


class Model(msgspec.Struct):
    """What a store must say, as plain dicts."""

    values: dict[bytes, bytes] = {}
    ranks: dict[bytes, dict[str, int]] = {}
    facts: set[bytes] = set()
    position: StorePosition = StorePosition()

    def apply(self, changes: Changes) -> None:
        for key, value in changes.values.items():
            self.values.pop(key, None)
            self.ranks.pop(key, None)
            if value is not None:
                self.values[key] = value
                self.ranks[key] = dict(changes.ranks.get(key, {}))
        if changes.no_facts:
            self.facts.clear()
        self.facts.update(changes.facts)
        self.position = changes.position

    def top(self, rank: str, limit: int) -> list[Entry]:
        scores = sorted((-ranks[rank], key) for key, ranks in self.ranks.items() if rank in ranks)
        return [Entry(key, self.values[key]) for _score, key in scores[:limit]]

    def is_told_by(self, store: Store) -> None:
        reader = store.reader()
        assert store.position == self.position
        assert store.values(KEYS) == self.values
        assert store.known(FACTS) == self.facts
        for key in KEYS:
            assert reader.get(key) == (self.values.get(key), self.position)
        for rank in RANKS:
            for limit in (1, 2, ALL):
                assert reader.top(rank, limit) == (self.top(rank, limit), self.position)
        for first in KEYS:
            for last in KEYS:
                keys = sorted(key for key in self.values if first <= key < last)
                entries = [Entry(key, self.values[key]) for key in keys]
                assert reader.between(first, last, ALL) == (entries, self.position)
                assert reader.between(first, last, 1) == (entries[:1], self.position)
        reader.close()


scores = st.integers(-(2**63), 2**63 - 1) | st.integers(-2, 2)
values = st.none() | st.binary(max_size=12) | st.just(b"v" * 20_000)
commits = st.tuples(
    st.dictionaries(st.sampled_from(KEYS), values, max_size=6),
    st.dictionaries(st.sampled_from(KEYS), st.dictionaries(st.sampled_from(RANKS), scores)),
    st.sets(st.sampled_from(FACTS), max_size=5),
    st.booleans(),
    st.booleans(),
)


@pytest.mark.parametrize("kind", ["memory", "disk"])
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=st.lists(commits, max_size=6))
def test_a_store_says_what_was_applied_also_after_it_was_closed(
    kind: str, steps: list[tuple[object, ...]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.mktemp("state")
    stores: StateStores = MemoryStores() if kind == "memory" else SqliteStores(directory)
    store, model = opened(stores), Model({}, {}, set())
    model.is_told_by(store)
    for number, (changed, ranks, facts, no_facts, is_closed) in enumerate(steps):
        known = set() if no_facts else model.facts
        changes = Changes(
            values=changed,  # type: ignore[arg-type]
            ranks=ranks,  # type: ignore[arg-type]
            facts=sorted(facts - known),  # type: ignore[operator]
            no_facts=bool(no_facts),
            position=at(number),
        )
        store.apply(changes)
        model.apply(changes)
        model.is_told_by(store)
        if is_closed:
            store.close()
            store = opened(stores)
            model.is_told_by(store)
    store.close()


def test_a_new_store_has_nothing_and_no_position(stores: StateStores) -> None:
    store = opened(stores)
    reader = store.reader()
    assert store.position == StorePosition(changelogs=(), input=-1)
    assert store.values([]) == {}
    assert store.known([]) == set()
    assert reader.get(b"a") == (None, StorePosition())
    assert reader.top("EUR", 10) == ([], StorePosition())
    assert reader.between(b"", b"\xff", 10) == ([], StorePosition())
    store.close()


def test_stores_of_other_names_have_nothing_in_common(stores: StateStores) -> None:
    first, second = opened(stores, "table-1"), opened(stores, "table-10")
    first.apply(Changes(values={b"a": b"1"}, facts=FACTS[:1], position=at(1)))
    assert second.values([b"a"]) == {}
    assert second.known(FACTS) == set()
    assert second.position == StorePosition()
    first.close()
    second.close()


def test_any_number_of_keys_and_facts_are_asked_for_at_once_some_of_them_twice(
    stores: StateStores,
) -> None:
    store = opened(stores)
    keys = [b"%d" % number for number in range(1_234)]
    facts = [number.to_bytes(16, "big") for number in range(1_234)]
    store.apply(Changes(values={key: key * 2 for key in keys}, facts=facts, position=at(1)))
    for count in (1, 62, 63, 499, 500, 501, 1_234):
        asked_for = [*keys[:count], b"none", *keys[:count]]
        assert store.values(asked_for) == {key: key * 2 for key in keys[:count]}
        assert store.known([*facts[:count], b"\xff" * 16, *facts[:count]]) == set(facts[:count])
    store.close()


def test_ranks_of_a_changed_key_stand_in_for_those_it_had(stores: StateStores) -> None:
    store = opened(stores)
    reader = store.reader()

    def listed(rank: str) -> list[bytes]:
        return [entry.key for entry in reader.top(rank, ALL)[0]]

    ranks = {b"a": {"EUR": 1, "USD": 5}, b"b": {"EUR": 2}, b"c": {"EUR": 2}}
    store.apply(Changes(values=dict.fromkeys(ranks, b"v"), ranks=ranks, position=at(1)))
    assert listed("EUR") == [b"b", b"c", b"a"]
    assert listed("USD") == [b"a"]

    store.apply(Changes(values={b"a": b"v", b"b": None}, ranks={b"a": {"EUR": 3}}, position=at(2)))
    assert listed("EUR") == [b"a", b"c"]
    assert listed("USD") == []

    store.apply(Changes(values={b"c": b"v"}, position=at(3)))
    assert listed("EUR") == [b"a"]
    store.close()


def test_an_empty_value_is_a_value(stores: StateStores) -> None:
    store = opened(stores)
    store.apply(Changes(values={b"a": b"old"}, position=at(1)))
    store.apply(Changes(values={b"a": b""}, position=at(2)))
    assert store.values([b"a"]) == {b"a": b""}
    store.close()


def test_changes_that_can_not_be_written_are_not_written_at_all(stores: StateStores) -> None:
    store = opened(stores)
    store.apply(Changes(values={b"a": b"1"}, ranks={b"a": {"EUR": 1}}, position=at(1)))
    broken: dict[str, int] = {"EUR": "many"}  # type: ignore[dict-item]
    with pytest.raises((TypeError, OverflowError, ValueError)):
        store.apply(
            Changes(
                values={b"a": b"2", b"b": b"2", b"c": "no bytes"},  # type: ignore[dict-item]
                ranks={b"b": broken},
                facts=FACTS[:3],
                position=at(2),
            )
        )
    model = Model({b"a": b"1"}, {b"a": {"EUR": 1}}, set(), at(1))
    model.is_told_by(store)
    store.apply(Changes(values={b"a": b"3"}, position=at(3)))
    store.close()
    store = opened(stores)
    assert store.position == at(3)
    store.close()


def test_whoever_opens_a_store_takes_it_from_whoever_has_it(stores: StateStores) -> None:
    old = opened(stores)
    old.apply(Changes(values={b"a": b"1"}, position=at(1)))
    new = opened(stores)
    with pytest.raises(StoreTaken):
        old.apply(Changes(values={b"a": b"old"}, facts=FACTS[:1], position=at(2)))
    assert old.position == at(1)
    new.apply(Changes(values={b"b": b"1"}, position=at(3)))
    with pytest.raises(StoreTaken):
        old.apply(Changes(position=at(4)))
    Model({b"a": b"1", b"b": b"1"}, {}, set(), at(3)).is_told_by(new)
    old.close()
    Model({b"a": b"1", b"b": b"1"}, {}, set(), at(3)).is_told_by(new)
    new.close()


def test_a_store_that_was_set_aside_by_another_process_is_taken(stores: StateStores) -> None:
    old = opened(stores)
    old.apply(Changes(values={b"a": b"1"}, position=at(1)))
    new = stores.set_aside(NAME, "it does not fit")
    with pytest.raises(StoreTaken):
        old.apply(Changes(values={b"a": b"2"}, position=at(2)))
    Model({}, {}, set()).is_told_by(new)
    old.close()
    new.close()


def test_a_reader_outlives_its_store_and_reads_the_last_state(stores: StateStores) -> None:
    store = opened(stores)
    reader = store.reader()
    store.apply(Changes(values={b"a": b"1"}, position=at(1)))
    store.close()
    assert reader.get(b"a") == (b"1", at(1))

    again = opened(stores)
    again.apply(Changes(values={b"a": b"2"}, position=at(2)))
    assert reader.get(b"a") == (b"2", at(2))
    again.close()
    reader.close()


@pytest.mark.parametrize("is_read_before", [True, False])
def test_a_reader_of_a_store_that_was_set_aside_says_nothing_more(
    stores: StateStores, is_read_before: bool
) -> None:
    """Neither what it had, which is not trusted, nor what its successor is filled with."""
    store = opened(stores)
    store.apply(Changes(values={b"a": b"1"}, position=at(5)))
    reader = store.reader()
    if is_read_before:
        assert reader.get(b"a") == (b"1", at(5))
    store.close()
    new = stores.set_aside(NAME, "it does not fit")
    assert new.position == StorePosition()
    new.apply(Changes(values={b"a": b"half"}, position=at(1)))

    questions: list[Callable[[], object]] = [
        lambda: reader.get(b"a"),
        lambda: reader.top("EUR", 1),
        lambda: reader.between(b"a", b"b", 1),
    ]
    for question in questions:
        with pytest.raises(StoreDamaged, match="set aside"):
            question()
    Model({b"a": b"half"}, {}, set(), at(1)).is_told_by(new)
    new.close()
    reader.close()


def test_a_reader_beside_the_writer_sees_whole_commits_only(stores: StateStores) -> None:
    """All values of a commit are equal to its position, whatever is read, from several threads."""
    store = opened(stores)
    reader = store.reader()
    keys = [b"%d" % number for number in range(50)]
    wrong: list[object] = []
    over = threading.Event()

    def write(number: int) -> None:
        # Each second commit deletes half of the keys.
        gone = keys[::2] if number % 2 else []
        store.apply(
            Changes(
                values={key: None if key in gone else b"%d" % number for key in keys},
                ranks={key: {"EUR": number} for key in keys},
                position=at(number),
            )
        )

    def read() -> None:
        last = 0
        while not over.is_set():
            for entries, position in (reader.between(b"", b"\xff", ALL), reader.top("EUR", ALL)):
                number = position.changelogs[0].offset
                seen = {entry.value for entry in entries}
                expected = len(keys) // (2 if number % 2 else 1)
                if seen != {b"%d" % number} or len(entries) != expected or number < last:
                    wrong.append((number, seen, len(entries)))
                last = number

    write(0)
    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(1, 150):
        write(number)
    over.set()
    for thread in threads:
        thread.join(10)
    assert wrong == []
    store.close()
    reader.close()
