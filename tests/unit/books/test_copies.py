"""
Runs over a copy: what is behind is in flight, what is wrong is proved, a copy that is away is said
to be, and nothing is skipped for any of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from tests.unit.books.payments import in_lake, in_warehouse, paid

from orderflow.books.accounts import (
    CopyLetters,
    LakeAccount,
    LakeRow,
    OpenLetter,
    TopicEvent,
    WarehouseAccount,
    WarehouseRow,
)
from orderflow.books.copies import CopyBooks, CopyReport
from orderflow.books.copy_positions import CopyPositions, left_for_copy
from orderflow.books.judge_copies import judge_lake, judge_warehouse
from orderflow.books.lake_accounts import LakeAccounts
from orderflow.books.report import Check, CopyState
from orderflow.books.store import Batch, BooksStore, LetterRow
from orderflow.books.warehouse_accounts import WarehouseAccounts
from orderflow.messaging.errors import Unavailable
from orderflow.messaging.kafka.finished_offsets import Window
from orderflow.messaging.kafka.place import Place
from orderflow.messaging.testing.memory_clock import MemoryClock

PLACE = ("payments", 0)
GROUP = "payments-warehouse"


class ScriptedPositions(CopyPositions):
    """How far the group is, as the test says."""

    def __init__(self, store: BooksStore) -> None:
        self.group = GROUP
        self._store = store
        self.finished = Window(0)
        self.replays = 0

    def windows(self) -> Mapping[Place, Window]:
        return {PLACE: self.finished}

    def replays_left(self) -> int:
        return self.replays

    def since(self) -> dict[int, int]:
        return {0: 0}


class House:
    """Both copies of what is announced, with the real store."""

    def __init__(self, directory: Path) -> None:
        self.store = BooksStore(directory)
        self.positions = ScriptedPositions(self.store)
        self.clock = MemoryClock()
        self.rows: dict[str, tuple[WarehouseRow, ...]] = {}
        self.files: list[LakeRow] = []
        self.is_away = False
        self.reads = 0

    def announce(self, *events: tuple[str, TopicEvent], copied: bool = True) -> None:
        known = self.store.events([order_id for order_id, _ in events])
        for order_id, event in events:
            known[order_id] = (*known.get(order_id, ()), event)
            if copied:
                statuses = {"PaymentSucceeded": "SUCCEEDED", "PaymentRefunded": "REFUNDED"}
                self.rows[order_id] = (in_warehouse(order_id, statuses[event.type]),)
                self.files.append(in_lake(order_id, event))
        end = max(event.offset for _, event in events) + 1
        if copied:
            self.positions.finished = Window(end)
        paid_at = {(0, event.offset): order_id for order_id, event in events}
        self.store.write(Batch(orders=known, paid=paid_at), {PLACE: end})

    def letter(self, order_id: str, event: TopicEvent) -> None:
        letter = OpenLetter(
            topic=f"payments.{GROUP}.dlt",
            partition=0,
            offset=3,
            group=GROUP,
            event_id=event.event_id,
        )
        self.store.write(Batch(letters=[LetterRow(order_id=order_id, letter=letter)]), {})

    def dispose(self, kind: str) -> None:
        self.store.write(Batch(dispositions={f"payments.{GROUP}.dlt/0/3": kind}), {})

    # The readers.

    def read(self, order_ids: Sequence[str]) -> Mapping[str, tuple[WarehouseRow, ...]]:
        self._ask()
        return {each: self.rows[each] for each in order_ids if each in self.rows}

    def order_ids(self, after: str, limit: int) -> Sequence[str]:
        self._ask()
        return sorted(each for each in self.rows if each > after)[:limit]

    def _ask(self) -> None:
        self.reads += 1
        if self.is_away:
            raise Unavailable("10.0.0.7 refused", resource="database")

    def warehouse(self, *, slice_offsets: int = 1_000, accounts_max: int = 100) -> CopyReport:
        system = WarehouseAccounts(self, self.store, self.positions, lambda: True)
        books: CopyBooks[WarehouseAccount] = CopyBooks(
            Check.WAREHOUSE,
            system,
            judge_warehouse,
            self.store,
            slice_offsets=slice_offsets,
            accounts_max=accounts_max,
        )
        return self._run(books)

    def lake(self, **run: Any) -> CopyReport:
        system = LakeAccounts(_Files(self), self.store, self.positions, lambda: True)
        books: CopyBooks[LakeAccount] = CopyBooks(
            Check.LAKE, system, judge_lake, self.store, slice_offsets=1_000, accounts_max=50
        )
        return self._run(books, **run)

    def _run(self, books: CopyBooks[Any], **run: Any) -> CopyReport:
        return books.run(within_s=5, pause=self.clock.advance, clock=self.clock, **run)


class _Files:
    def __init__(self, house: House) -> None:
        self._house = house

    def read(self, partition: int, first: int, end: int) -> Sequence[LakeRow]:
        self._house._ask()
        return [row for row in self._house.files if partition == 0 and first <= row.offset < end]


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path)
    yield house
    house.store.close()


def found(report: CopyReport) -> tuple[int, int, int]:
    return len(report.wrong), len(report.in_flight), len(report.explained)


def test_copies_that_agree_have_no_differences(house: House) -> None:
    house.announce(*((str(number), paid(str(number), number)) for number in range(9)))
    for report in (house.warehouse(), house.lake()):
        assert found(report) == (0, 0, 0)
        assert report.checked >= 9
        assert report.copy.state is CopyState.COMPARED


def test_what_the_group_has_not_finished_is_in_flight_and_then_proved(house: House) -> None:
    house.announce(("1", paid("1", 4)), copied=False)
    for report in (house.warehouse(), house.lake()):
        assert found(report) == (0, 1, 0)
        assert report.awaited == [f"{GROUP}, 1 to go"]

    # Committed, and still not there: it was lost.
    house.positions.finished = Window(5)
    for report in (house.warehouse(), house.lake()):
        assert found(report) == (1, 0, 0)
        assert report.wrong[0].id == in_warehouse("1").payment_id


def test_a_sink_that_stands_still_hides_no_difference_of_another_order(house: House) -> None:
    house.announce(("1", paid("1", 4)))
    house.announce(("2", paid("2", 5)), copied=False)
    house.rows["1"] = (replace(in_warehouse("1"), captured_minor=1),)
    report = house.warehouse()
    assert (found(report), report.wrong[0].command) == ((1, 1, 0), "orderflow trace 1")


def test_what_was_wrong_is_compared_again_until_it_is_mended(house: House) -> None:
    house.announce(("1", paid("1", 4)))
    house.rows["1"], house.files = (), []
    for _ in range(2):
        assert found(house.warehouse()) == (1, 0, 0)
        assert found(house.lake()) == (1, 0, 0)
    house.rows["1"], house.files = (in_warehouse("1"),), [in_lake("1", paid("1", 4))]
    assert found(house.warehouse()) == found(house.lake()) == (0, 0, 0)


def test_old_rows_have_their_turn_and_strange_ones_are_found(house: House) -> None:
    house.announce(*((str(number), paid(str(number), number)) for number in range(10, 20)))
    assert found(house.warehouse()) == found(house.lake()) == (0, 0, 0)

    house.rows["13"] = (replace(in_warehouse("13"), captured_minor=1_991),)
    house.rows["99"] = (in_warehouse("99"),)
    house.files.remove(in_lake("15", paid("15", 15)))
    house.files.append(in_lake("16", paid("16", 16)))
    names = {each.id for each in house.warehouse().wrong}
    assert names == {in_warehouse("13").payment_id, in_warehouse("99").payment_id}
    names = {each.id for each in house.lake().wrong}
    assert names == {in_warehouse("15").payment_id, in_warehouse("16").payment_id}


def test_a_slice_at_a_time_comes_round(house: House) -> None:
    house.announce(*((str(number), paid(str(number), number)) for number in range(10, 20)))
    house.warehouse(slice_offsets=0)
    del house.rows["13"]
    assert found(house.warehouse(slice_offsets=10)) == (0, 0, 0)
    assert found(house.warehouse(slice_offsets=10)) == (1, 0, 0)


def test_a_copy_that_is_away_is_said_to_be_and_nothing_is_skipped(house: House) -> None:
    house.announce(("1", paid("1", 4)))
    house.rows["1"], house.files, house.is_away = (), [], True
    for name, report in (("warehouse", house.warehouse()), ("lake", house.lake())):
        assert report.copy.state is CopyState.AWAY
        assert report.notes == [f"not compared: the {name} is away: database: away"]
        assert "10.0.0.7" not in str(report)
    house.is_away = False
    assert found(house.warehouse()) == found(house.lake()) == (1, 0, 0)


def test_too_many_differences_end_a_run_and_the_next_goes_on(house: House) -> None:
    house.announce(*((str(number), paid(str(number), 3_000 * number)) for number in range(1, 6)))
    house.rows.clear()
    report = house.warehouse(accounts_max=2)
    assert (found(report), len(report.notes)) == ((2, 0, 0), 1)
    assert found(house.warehouse(accounts_max=9)) == (5, 0, 0)


def test_one_order_alone_changes_no_cursor(house: House) -> None:
    house.announce(("1", paid("1", 4)), ("2", paid("2", 5)))
    house.files.clear()
    assert found(house.lake(order_id="2")) == (1, 0, 0)
    assert found(house.lake()) == (2, 0, 0)


def test_a_dead_letter_explains_and_once_laid_aside_is_not_missed(house: House) -> None:
    event = paid("1", 4)
    house.announce(("1", event), copied=False)
    house.positions.finished = Window(5)
    house.letter("1", event)
    for report in (house.warehouse(), house.lake()):
        assert found(report) == (0, 0, 1)
        assert f"orderflow dlt show payments.{GROUP}.dlt/0/3" in report.explained[0].reason

    house.dispose("DISCARDED")
    assert found(house.warehouse()) == (0, 0, 0)
    # Sent back: it is in flight until the replay is read, and lost if it is not there then.
    house.dispose("REPLAYED")
    house.positions.replays = 2
    report = house.warehouse()
    assert (found(report), report.awaited) == ((0, 1, 0), [f"{GROUP}, 2 to go"])
    house.positions.replays = 0
    assert found(house.warehouse()) == (1, 0, 0)


def test_only_its_own_unfinished_events_hold_an_account() -> None:
    events = [paid("1", 4), paid("2", 7)]
    assert left_for_copy({PLACE: Window(9, (7,))}, events, CopyLetters()) == 1
    assert left_for_copy({}, events, CopyLetters()) == 2, "a group that has never committed"
    opened = CopyLetters(open={events[1].event_id: "x"})
    assert left_for_copy({PLACE: Window(5)}, events, opened) == 0
