"""Up to which moment an answer has everything: what the directory concludes from the brokers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from tests.support.sales import BY_DAY, BY_SHOP, SALES, TOPOLOGY

from orderflow.messaging.errors import Unavailable
from orderflow.messaging.kafka.finished_offsets import Window
from orderflow.messaging.kafka.place import Place
from orderflow.messaging.settings import KafkaSettings
from orderflow.messaging.streams import directory as directory_module
from orderflow.messaging.streams.directory import Directory, Instance

SOURCE, SHOPS, DAYS = (SALES.name, 0), (BY_SHOP.name, 0), (BY_DAY.name, 0)


class Brokers:
    """What the brokers would answer: ends for readers, ends of logs, and committed offsets."""

    def __init__(self) -> None:
        self.topics = {SALES.name: 1, BY_SHOP.name: 1, BY_DAY.name: 1}
        self.stable: dict[Place, int] = {}
        self.log_ends: dict[Place, int] = {}
        self.committed: dict[Place, int] = {}
        self.members: dict[Place, str] = {}
        self.away = False

    def at(self, place: Place, *, end: int, committed: int, log_end: int | None = None) -> None:
        self.stable[place] = end
        self.log_ends[place] = end if log_end is None else log_end
        self.committed[place] = committed

    def partitions(self, topics: Iterable[str]) -> dict[str, int]:
        if self.away:
            raise Unavailable("all brokers are down", resource="broker")
        return {topic: self.topics[topic] for topic in topics if topic in self.topics}

    def stable_ends(self, places: Iterable[Place]) -> dict[Place, int]:
        return {place: self.stable.get(place, 0) for place in places}

    def ends(self, places: Iterable[Place]) -> dict[Place, int]:
        return {place: self.log_ends.get(place, 0) for place in places}

    def assigned(self) -> dict[Place, str]:
        return dict(self.members)

    def poll(self, _timeout: float) -> None: ...


@pytest.fixture
def brokers(monkeypatch: pytest.MonkeyPatch) -> Brokers:
    brokers = Brokers()
    for name in ("Logs", "Members", "observer"):
        monkeypatch.setattr(directory_module, name, lambda *_args: brokers)

    def windows(_client: Any, places: Iterable[Place], *, timeout_s: float) -> dict[Place, Window]:
        assert timeout_s <= 2
        return {
            place: Window(brokers.committed[place])
            for place in places
            if place in brokers.committed
        }

    monkeypatch.setattr(directory_module, "committed_windows", windows)
    return brokers


@pytest.fixture
def directory(brokers: Brokers) -> Directory:
    return Directory(
        KafkaSettings(bootstrap_servers="127.0.0.1:1"),
        group="tally",
        topology=TOPOLOGY,
        own=Instance("tally-0", "http://127.0.0.1:8100"),
    )


def test_before_the_first_answer_nothing_is_known(brokers: Brokers, directory: Directory) -> None:
    assert directory.reasons() == ["directory: not asked yet"]
    assert directory.owner(SHOPS) is None
    assert directory.complete_at(SHOPS, 10**9) is None
    assert directory.remembered_since(SHOPS) is None
    with pytest.raises(Unavailable, match="not asked yet"):
        directory.partitions(BY_SHOP.name)
    brokers.away = True
    with pytest.raises(Unavailable):
        directory.sample()


def test_a_moment_is_complete_once_what_was_on_the_source_is_in_the_table(
    brokers: Brokers, directory: Directory
) -> None:
    brokers.at(SOURCE, end=10, committed=4)
    brokers.at(SHOPS, end=4, committed=4)
    directory._refresh()
    assert directory.complete_at(SHOPS, 4) is None, "6 records are not re-keyed"
    waiting = directory.remembered_since(SHOPS)
    assert waiting is not None, "what is not complete is at least older than this"

    brokers.at(SOURCE, end=12, committed=10)
    brokers.at(SHOPS, end=10, committed=4)
    directory._refresh()
    first = directory.complete_at(SHOPS, 10)
    assert first is not None
    assert directory.remembered_since(SHOPS) == waiting <= first
    assert directory.complete_at(SHOPS, 9) is None

    brokers.at(SOURCE, end=12, committed=12)
    brokers.at(SHOPS, end=12, committed=4)
    directory._refresh()
    second = directory.complete_at(SHOPS, 12)
    assert second is not None
    assert second > first
    assert directory.complete_at(SHOPS, 11) == first
    assert directory.complete_at(SHOPS, 9) is None


def test_a_table_that_another_forwards_to_is_complete_only_after_that_one(
    brokers: Brokers, directory: Directory
) -> None:
    """Re-keyed, a sale is on the shops' topic; the days hear of it when it counts there."""
    brokers.at(SOURCE, end=10, committed=10)
    brokers.at(SHOPS, end=10, committed=3)
    brokers.at(DAYS, end=3, committed=3)
    directory._refresh()
    assert directory.complete_at(SHOPS, 10) is not None
    assert directory.complete_at(DAYS, 3) is None

    brokers.at(SHOPS, end=10, committed=10)
    brokers.at(DAYS, end=10, committed=3)
    directory._refresh()
    assert directory.complete_at(DAYS, 3) is None
    assert directory.complete_at(DAYS, 10) is not None


def test_records_whose_commit_has_no_marker_yet_are_missed_too(
    brokers: Brokers, directory: Directory
) -> None:
    """The offsets of a transaction may be seen before its records are."""
    brokers.at(SOURCE, end=10, committed=10)
    brokers.at(SHOPS, end=7, log_end=10, committed=7)
    directory._refresh()
    assert directory.complete_at(SHOPS, 7) is None
    assert directory.complete_at(SHOPS, 10) is not None
    assert directory.sample().inputs[SHOPS] == 10


def test_everything_below_an_end_is_re_keyed_only_on_all_partitions(
    brokers: Brokers, directory: Directory
) -> None:
    brokers.topics[SALES.name] = 2
    brokers.at(SOURCE, end=10, committed=10)
    brokers.at((SALES.name, 1), end=1, committed=0)
    sample = directory.sample()
    assert sample.has_rekeyed({SOURCE: 10})
    assert not sample.has_rekeyed({SOURCE: 11})
    assert not sample.has_rekeyed(sample.ends)
    assert sample.has_rekeyed({(SALES.name, 7): 0})


def test_topics_that_are_made_later_are_seen_later(brokers: Brokers, directory: Directory) -> None:
    del brokers.topics[BY_DAY.name]
    with pytest.raises(Unavailable, match=BY_DAY.name):
        directory.sample()
    brokers.topics[BY_DAY.name] = 3
    directory.sample()
    assert directory.partitions(BY_DAY.name) == 3


def test_while_the_group_rebalances_those_from_before_are_asked(
    brokers: Brokers, directory: Directory
) -> None:
    brokers.members = {SHOPS: "tally-1@http://127.0.0.1:8086", DAYS: "without an address"}
    directory._refresh()
    assert directory.owner(SHOPS) == Instance("tally-1", "http://127.0.0.1:8086")
    assert directory.owner(DAYS) is None
    brokers.members = {}
    directory._refresh()
    assert directory.owner(SHOPS) == Instance("tally-1", "http://127.0.0.1:8086")
