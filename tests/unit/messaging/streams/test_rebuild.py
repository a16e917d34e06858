"""
The state anew from the log: the recomputation is what the service would say, and what differs is
put right by the records that a rebuild commits. On the in-memory bus.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from zlib import crc32

import pytest
from tests.support.sales import (
    FACTS,
    GROUP,
    NOON,
    SALES,
    SHOPS,
    TOPOLOGY,
    ShopTotal,
    Sold,
    Tally,
    catalogue,
    receipt_id,
)

from orderflow.messaging.errors import Refused
from orderflow.messaging.kafka.transactions import Placed
from orderflow.messaging.schemas.avro import Decoder, Encoder
from orderflow.messaging.streams.rebuild.differences import (
    Differences,
    KeyDifference,
    differences,
    records,
)
from orderflow.messaging.streams.rebuild.present import PresentState
from orderflow.messaging.streams.rebuild.rebuild import refuse_lost_beginning
from orderflow.messaging.streams.rebuild.recomputation import Recomputation
from orderflow.messaging.streams.store.memory_store import MemoryStores
from orderflow.messaging.streams.store.sqlite_store import SqliteStores
from orderflow.messaging.streams.store.store import Changes, StateStores, StorePosition
from orderflow.messaging.testing.memory_broker import PARTITIONS
from orderflow.messaging.testing.memory_changelog import MemoryChangelogReader

COUNTS = {topic.name: PARTITIONS for topic in (*TOPOLOGY.topics, SHOPS, FACTS)}
LATER = NOON + timedelta(days=1)


def partition_of(key: bytes, partitions: int) -> int:
    """As the broker in memory places keys."""
    return crc32(key) % partitions


def recomputed(tally: Tally, *, piece: int = 7) -> Recomputation:
    decoder = Decoder(tally.bus.registry)
    anew = Recomputation(
        TOPOLOGY, partitions=COUNTS, stores=MemoryStores(), partition_of=partition_of
    )
    events = [decoder.decode_as(m.value(), Sold) for m in tally.broker.records(SALES.name)]
    for start in range(0, len(events), piece):
        anew.add(events[start : start + piece])
    return anew


def present(tally: Tally) -> PresentState:
    state = PresentState(
        TOPOLOGY,
        partitions=COUNTS,
        stores=MemoryStores(),
        reader=MemoryChangelogReader(tally.broker),
        decoder=Decoder(tally.bus.registry),
        clock=tally.clock,
    )
    state.catch_up(lambda _done, _total: None)
    return state


def compared(tally: Tally) -> Differences:
    return differences(present(tally).tasks, recomputed(tally))


def busy() -> Tally:
    tally = Tally()
    for number in range(40):
        at = NOON if number % 3 else LATER
        tally.sell(f"shop-{number % 6}", f"receipt-{number % 35}", number % 4 + 1, at=at)
    tally.run()
    return tally


def place_of(shop: str) -> tuple[str, int]:
    return "shops", partition_of(shop.encode(), PARTITIONS)


def spoil(tally: Tally, shop: str, pieces: int) -> None:
    """Somebody wrote a total to the changelog that no sales stand behind."""
    total = ShopTotal(shop=shop, pieces=pieces, sales=1, at=NOON)
    tally.bus.publish(SHOPS.name, total)


def test_what_is_recomputed_is_what_the_service_says() -> None:
    tally = busy()
    assert not compared(tally)


@pytest.mark.parametrize("piece", [1, 3, 1_000])
def test_it_does_not_matter_in_which_pieces_the_log_is_read(piece: int) -> None:
    tally = busy()
    assert not differences(present(tally).tasks, recomputed(tally, piece=piece))


def test_a_value_that_no_events_stand_behind_differs_and_so_does_a_missing_one() -> None:
    tally = busy()
    spoil(tally, "shop-1", 9_999)
    spoil(tally, "nobody", 5)
    [nobody, wrong] = sorted(compared(tally).keys, key=lambda it: it.key)
    assert nobody == KeyDifference(
        place_of("nobody"),
        b"nobody",
        ShopTotal(shop="nobody", pieces=5, sales=1, at=NOON),
        None,
    )
    assert (wrong.task, wrong.key) == (place_of("shop-1"), b"shop-1")
    assert wrong.present.pieces == 9_999
    assert wrong.recomputed.pieces == tally.shops["shop-1"][0]


def test_facts_that_should_be_there_and_others_that_should_not_are_counted() -> None:
    tally = busy()
    number = place_of("shop-0")[1]
    tally.broker.append((), [Placed(FACTS.name, number, b"all", b"", [])])
    tally.broker.append((), [Placed(FACTS.name, number, b"nobody's", b"1" * 16, [])])
    [difference] = compared(tally).facts
    assert difference.task == ("shops", number)
    assert difference.missing > 0
    assert difference.surplus == 1


def test_only_what_differs_twice_is_no_record_under_way() -> None:
    tally = busy()
    spoil(tally, "shop-1", 9_999)
    spoil(tally, "shop-2", 9_999)
    before = compared(tally)
    spoil(tally, "shop-3", 9_999)
    tally.sell("shop-2", "another", 1)
    tally.run()
    after = compared(tally)
    assert {it.key for it in before.lasting(after).keys} <= {b"shop-1", b"shop-2"}
    assert b"shop-1" in {it.key for it in before.lasting(after).keys}


def switch(tally: Tally) -> Differences:
    """What the command commits, while nobody else does."""
    encoder = Encoder.load(tally.bus.registry, catalogue())
    anew = recomputed(tally)
    changes = differences(present(tally).tasks, anew)

    def write(topic: str, value: ShopTotal) -> tuple[bytes, list[tuple[str, bytes]]]:
        return encoder.encode(topic, value), []

    tally.broker.append((), list(records(changes, anew, write)), marked=True)
    committed = tally.broker.groups[GROUP].committed
    for place in tally.broker.places(topic.name for topic in TOPOLOGY.topics):
        committed[place] = (tally.broker.end(place), "")
    return changes


def test_stores_of_before_restore_to_the_recomputed_state_and_facts_count_once_again() -> None:
    """
    Goal: after the switch totals are those of the log, from an old store as from none.

    Method: a total is spoilt, a key made up, one partition's facts lost, and one made up that hides
    a sale to come; then the switch, a restart of one worker with its store and one without.
    """
    tally = busy()
    expected, days = tally.shops, tally.days
    spoil(tally, "shop-1", 9_999)
    spoil(tally, "nobody", 5)
    number = place_of("shop-0")[1]
    hidden = receipt_id("hidden").bytes
    tally.broker.append((), [Placed(FACTS.name, number, b"all", b"", [])])
    tally.broker.append((), [Placed(FACTS.name, number, b"hidden", hidden, [])])
    tally.workers[0].stop()
    tally.workers[0].restart()
    tally.run()
    assert tally.shops["shop-1"] == (9_999, 1)

    tally.workers[0].stop()
    switch(tally)
    assert not compared(tally)
    for keeps_store in (True, False):
        if not keeps_store:
            tally.workers[0].stop()
            tally.workers[0].stores.delete()
        tally.workers[0].restart()
        tally.run()
        assert (tally.shops, tally.days, tally.changelog) == (expected, days, expected)
        assert tally.workers[0].stores.aside == []

    for number in range(35):
        tally.sell(f"shop-{number % 6}", f"receipt-{number}", 1)
    tally.sell("shop-0", "hidden", 2)
    tally.run()
    pieces, sales = expected["shop-0"]
    assert tally.shops == {**expected, "shop-0": (pieces + 2, sales + 1)}


def test_sales_that_were_under_way_count_once_after_the_switch() -> None:
    """Those on the source are in the new state; those re-keyed but not folded are not folded."""
    tally = busy()
    spoil(tally, "shop-1", 9_999)
    for number in range(100, 120):
        tally.sell("shop-1", f"receipt-{number}", 1)
        tally.turn()
    tally.workers[0].container.close()
    switch(tally)
    tally.sell("shop-1", "last", 1)
    tally.workers[0].restart()
    tally.run()
    assert not compared(tally)


def test_a_source_that_has_lost_its_beginning_is_refused_and_named() -> None:
    refuse_lost_beginning("sales", {("sales", 0): 0, ("sales.replay", 0): 7})
    with pytest.raises(Refused, match="sales has lost its first 1,200 offsets"):
        refuse_lost_beginning("sales", {("sales", 0): 1_000, ("sales", 1): 200})


@pytest.mark.parametrize("on_disk", [True, False])
def test_a_store_counts_its_facts(tmp_path: Path, on_disk: bool) -> None:
    stores: StateStores = SqliteStores(tmp_path) if on_disk else MemoryStores()
    store, _why = stores.open("shops-0")
    assert store.facts == 0
    facts = [bytes([number]) * 16 for number in range(3)]
    store.apply(Changes(facts=facts, position=StorePosition()))
    assert store.facts == 3
    store.apply(Changes(facts=facts[:1], no_facts=True, position=StorePosition()))
    assert store.facts == 1
    store.close()


def test_stores_on_disk_recompute_the_same(tmp_path: Path) -> None:
    tally = busy()
    decoder = Decoder(tally.bus.registry)
    anew = Recomputation(
        TOPOLOGY, partitions=COUNTS, stores=SqliteStores(tmp_path), partition_of=partition_of
    )
    anew.add([decoder.decode_as(m.value(), Sold) for m in tally.broker.records(SALES.name)])
    assert not differences(present(tally).tasks, anew)
