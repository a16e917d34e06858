"""The store: records are added with the positions behind them, both or neither."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.unit.books.lives import Life

from orderflow.books.accounts import OpenLetter
from orderflow.books.store import FILE, Batch, BooksStore, CustomerFold, LetterRow
from orderflow.messaging.errors import Unavailable

PLACE = ("orders", 0)
EVENTS = Life().account().events
LETTER = OpenLetter(topic="orders.payment-service.dlt", partition=0, offset=7, group="payment")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[BooksStore]:
    store = BooksStore(tmp_path)
    yield store
    store.close()


def test_what_was_written_is_there_after_a_restart(store: BooksStore, tmp_path: Path) -> None:
    customers = {"c": CustomerFold(announced=2, last_announced=2)}
    batch = Batch(orders={"1": EVENTS}, customers=customers, facts={"p"}, references={"p": "1"})
    store.write(batch, {PLACE: 9})
    store.close()

    again = BooksStore(tmp_path)
    assert again.events(["1", "2"]) == {"1": EVENTS}
    assert again.customers(["c"]) == customers
    assert again.known_facts(["p", "q"]) == {"p"}
    assert again.orders_of(["p", "q"]) == {"p": "1"}
    assert again.positions() == {PLACE: 9}
    assert again.touched_orders("", 10) == ["1"]
    assert again.touched_customers("", 10) == ["c"]
    again.close()


def test_a_batch_that_fails_leaves_nothing(store: BooksStore) -> None:
    positions: Any = {PLACE: None}
    with pytest.raises(Unavailable, match="delete it"):
        store.write(Batch(orders={"1": EVENTS}, facts={"p"}), positions)
    assert store.events(["1"]) == {}
    assert store.known_facts(["p"]) == set()
    assert store.positions() == {}


def test_a_kill_in_the_middle_leaves_nothing(tmp_path: Path) -> None:
    program = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from orderflow.books.store import Batch, BooksStore\n"
        "class Dying(dict):\n"
        "    def items(self): os.kill(os.getpid(), 9)\n"
        "store = BooksStore(Path(sys.argv[1]))\n"
        "store.write(Batch(facts={'p'}, orders={'1': ()}), Dying())\n"
    )
    died = subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False)
    assert died.returncode == -9

    store = BooksStore(tmp_path)
    assert (store.events(["1"]), store.known_facts(["p"]), store.positions()) == ({}, set(), {})
    store.close()


def test_a_damaged_file_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"no database at all" * 100)
    store = BooksStore(tmp_path)
    assert store.positions() == {}
    store.write(Batch(), {PLACE: 1})
    assert store.positions() == {PLACE: 1}
    store.close()


def test_a_topic_that_was_made_anew_begins_everything_anew(store: BooksStore) -> None:
    store.add_topics({"orders": "a"})
    store.write(Batch(orders={"1": EVENTS}, facts={"p"}), {PLACE: 9})
    store.set_cursor("order", "5")

    store.begin_anew({"orders": "b"})
    assert store.topic_ids == {"orders": "b"}
    assert store.positions() == {}
    assert store.events(["1"]) == {}
    assert store.known_facts(["p"]) == set()
    assert store.cursor("order") == ""


def test_a_position_never_goes_back(store: BooksStore) -> None:
    store.write(Batch(), {PLACE: 9})
    store.write(Batch(), {PLACE: 4})
    assert store.positions() == {PLACE: 9}


def test_a_gap_says_what_may_be_missing(store: BooksStore) -> None:
    assert store.unknown_before() == {}
    store.note_gap(PLACE, 100, 1_000.5)
    store.note_gap(("orders", 1), 50, 1_200.0)
    assert store.positions() == {PLACE: 100, ("orders", 1): 50}
    assert store.unknown_before()["orders"].timestamp() == 1_200.0
    store.write(Batch(), {PLACE: 200})
    assert store.unknown_before()["orders"].timestamp() == 1_200.0


def test_letters_are_open_until_somebody_deals_with_them(store: BooksStore) -> None:
    store.write(Batch(letters=[LetterRow(order_id="1", letter=LETTER)]), {})
    store.settle_orders(["1"])
    assert store.letters(["1", "2"]) == {"1": [LetterRow(order_id="1", letter=LETTER)]}
    assert store.letter_counts() == (1, 1)

    store.write(Batch(dispositions={LETTER.name: "REPLAYED"}), {})
    assert [row.disposition for row in store.letters(["1"])["1"]] == ["REPLAYED"]
    assert store.letter_counts() == (1, 0)
    assert store.touched_orders("", 10) == ["1"], "its order is to be compared again"

    store.write(Batch(dispositions={LETTER.name: ""}), {})
    assert store.letter_counts() == (1, 1)


def test_a_disposition_of_no_letter_is_strange(store: BooksStore) -> None:
    store.write(Batch(dispositions={"x.dlt/0/1": "DISCARDED"}), {})
    assert store.strange_dispositions(10) == ["x.dlt/0/1"]


def test_ids_come_in_pages(store: BooksStore) -> None:
    ids = [f"{number:04}" for number in range(1_200)]
    store.touch_orders(ids)
    assert store.touched_orders("", 500) == ids[:500]
    assert store.touched_orders("0499", 500) == ids[500:1000]
    store.settle_orders(ids[:1_199])
    assert store.touched_orders("", 500) == ids[1_199:]
