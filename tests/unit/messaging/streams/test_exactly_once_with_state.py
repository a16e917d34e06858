"""
Input offsets, changelogs and output commit together, and the stores follow: on the in-memory bus.
"""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import pytest
from tests.support.sales import (
    BROKEN,
    BY_DAY,
    BY_SHOP,
    DAILY,
    FACTS,
    GROUP,
    NOON,
    SALES,
    SHOPS,
    DaySale,
    ShopSale,
    Tally,
)

from orderflow.messaging.kafka.group_topics import replay_topic
from orderflow.messaging.streams.changelog import FACT_BYTES
from orderflow.messaging.testing.bus import Fault, Faults

UNKIND = Faults(
    repeat=0.2, abort=0.15, unknown=0.15, expel=0.05, refuse=0.05, crash=0.1, wave_max=7
)


def sold(tally: Tally, sales: int) -> tuple[dict[str, tuple[int, int]], int]:
    """Sell, now and then between turns; what each shop must come to, and all pieces."""
    pieces, counts = Counter[str](), Counter[str]()
    for number in range(sales):
        shop, amount = f"shop-{number % 5}", number % 9 + 1
        tally.sell(shop, f"receipt-{number}", amount)
        pieces[shop] += amount
        counts[shop] += 1
        if number % 4 == 0:
            tally.turn(worker=number % len(tally.workers))
    tally.run()
    return {shop: (pieces[shop], counts[shop]) for shop in pieces}, sum(pieces.values())


def test_a_table_is_updated_as_records_flow_and_its_changelog_says_the_same() -> None:
    tally = Tally()
    tally.sell("north", "r1", 3)
    tally.run()
    assert tally.shops == tally.changelog == {"north": (3, 1)}

    tally.sell("north", "r2", 4)
    tally.sell("south", "r3")
    tally.run()
    assert tally.shops == tally.changelog == {"north": (7, 2), "south": (1, 1)}
    assert tally.days == {"2026-01-31": (8, 3)}


@pytest.mark.parametrize("seed", range(15))
@pytest.mark.parametrize("workers", [1, 3])
def test_totals_are_exact_whatever_fails_and_stores_hold_only_what_was_committed(
    seed: int, workers: int
) -> None:
    """
    Goal: repeats, aborts, commits without an answer, lost partitions and kills change no total.

    Method: from the seed; the totals of stores, changelog and the table behind them are compared
    with a plain sum.
    """
    tally = Tally(faults=UNKIND, workers=workers, seed=seed)
    expected, pieces = sold(tally, 60)
    assert tally.shops == tally.changelog == expected
    assert tally.days == {"2026-01-31": (pieces, 60)}


def test_one_record_for_each_changed_key_and_commit() -> None:
    tally = Tally()
    tally.turn(2)
    for number in range(50):
        tally.sell("north", f"r{number}")
    tally.run()
    assert tally.shops == {"north": (50, 50)}
    assert len(tally.broker.records(SHOPS.name)) == 1


def test_each_fact_counts_once_for_good_also_beside_itself_and_after_a_restart() -> None:
    tally = Tally()
    for _ in range(3):
        tally.sell("north", "r1", 5)
    tally.run()
    tally.sell("north", "r1", 5)
    tally.run()
    assert tally.shops == {"north": (5, 1)}

    # From the changelog alone.
    tally.workers[0].stop()
    tally.workers[0].stores.delete()
    tally.workers[0].restart()
    tally.sell("north", "r1", 5)
    tally.sell("north", "r2", 1)
    tally.run()
    assert tally.shops == {"north": (6, 2)}
    assert sum(len(m.value() or b"") for m in tally.broker.records(FACTS.name)) == 2 * FACT_BYTES


def test_a_replay_of_the_whole_source_changes_nothing() -> None:
    tally = Tally()
    expected, _pieces = sold(tally, 30)
    for place in tally.broker.places([SALES.name]):
        tally.broker.groups[GROUP].committed.pop(place, None)
    tally.workers[0].restart()
    tally.run()
    assert tally.shops == tally.changelog == expected


def test_nothing_of_an_aborted_transaction_stays() -> None:
    """The overlay is dropped: what was folded in it is folded again, once."""
    tally = Tally()
    tally.run()
    tally.sell("north", "r1", 5)
    tally.turn()
    tally.broker.planned.append(Fault.ABORTED)
    tally.turn()
    assert tally.shops == {}
    tally.run()
    assert tally.shops == tally.changelog == {"north": (5, 1)}


@pytest.mark.parametrize("fault", [Fault.COMMITTED_UNANSWERED, Fault.ABORTED_UNANSWERED])
def test_after_an_unknown_outcome_the_store_is_what_the_changelog_says(fault: Fault) -> None:
    tally = Tally()
    tally.run()
    tally.sell("north", "r1", 5)
    tally.turn()
    tally.broker.planned.append(fault)
    tally.turn()
    tally.run()
    assert tally.shops == tally.changelog == {"north": (5, 1)}
    assert tally.days == {"2026-01-31": (5, 1)}


def test_a_value_that_goes_is_deleted_from_store_and_changelog() -> None:
    tally = Tally()
    tally.sell("north", "r1", 5)
    tally.run()
    tally.sell("north", "r2", -5)
    tally.run()
    assert tally.shops == tally.changelog == {}

    tally.workers[0].stop()
    tally.workers[0].stores.delete()
    tally.workers[0].restart()
    tally.run()
    assert tally.shops == {}


def test_a_record_that_can_not_be_folded_is_a_dead_letter_and_the_others_count() -> None:
    tally = Tally()
    tally.sell("north", "r1", 2)
    tally.sell("north", "bad", BROKEN)
    tally.sell("north", "r2", 3)
    tally.run()
    assert tally.shops == {"north": (5, 2)}
    (letter,) = tally.broker.records(f"{BY_SHOP.name}.{GROUP}.dlt")
    assert letter.key() == b"north"


def test_a_dead_letter_sent_back_counts_on_the_partition_of_its_key() -> None:
    """A replay topic has one partition of its own; the state of the key is elsewhere."""
    tally = Tally(workers=3)
    for number in range(6):
        tally.sell(f"shop-{number}", f"r{number}")
    tally.run()
    tally.sell("shop-1", "again", 4, to=replay_topic(SALES, GROUP).name)
    tally.bus.publish(
        BY_SHOP.name,
        ShopSale(receipt="r-shop", shop="shop-2", pieces=7, at=NOON),
        to=replay_topic(BY_SHOP, GROUP).name,
    )
    tally.run()
    assert tally.shops["shop-1"] == (5, 2)
    assert tally.shops["shop-2"] == (8, 2)
    assert tally.shops == tally.changelog


@pytest.mark.parametrize("waits", [False, True], ids=["in bulk", "one by one"])
def test_a_dead_letter_sent_back_beside_records_of_its_key_adds_up(waits: bool) -> None:
    """Both are folded in one transaction, from two partitions, into one value."""
    tally = Tally()
    tally.run()
    if waits:
        tally.bus.append([(SALES.name, b"north", b"no sale", [])])
    tally.sell("north", "r1", 5)
    tally.sell("north", "r2", 4, to=replay_topic(SALES, GROUP).name)
    tally.sell("north", "r3", 3)
    tally.run()
    assert tally.shops == tally.changelog == {"north": (12, 3)}


def test_a_late_record_restates_its_window() -> None:
    tally = Tally()
    tally.sell("north", "r1", 2)
    tally.sell("north", "r2", 3, at=NOON + timedelta(days=1))
    tally.sell("north", "late", 5, at=NOON - timedelta(hours=11))
    tally.run()
    assert tally.days == {"2026-01-31": (7, 2), "2026-02-01": (3, 1)}
    assert len(tally.broker.records(DAILY.name)) >= 2


def test_what_was_folded_in_an_aborted_transaction_is_folded_again_once_without_facts_too() -> None:
    tally = Tally()
    tally.run()
    tally.bus.publish(BY_DAY.name, DaySale(day="2026-01-31", pieces=5, at=NOON))
    tally.broker.planned.append(Fault.ABORTED)
    tally.run()
    assert not tally.broker.planned
    assert tally.days == {"2026-01-31": (5, 1)}
