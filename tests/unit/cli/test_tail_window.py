"""Where `orderflow tail` begins."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from tests.unit.cli.test_tail import read

from orderflow.cli.records import ReadableRecord
from orderflow.cli.tail_window import at_offset, last_records, place_of
from orderflow.messaging.errors import ConfigurationError
from orderflow.messaging.kafka.reader import Offsets

BEGUN = read().timestamp


class Log:
    """A topic with two partitions: offsets that are markers have no record."""

    def __init__(self, *, markers: range = range(0)) -> None:
        self.ranges = {0: (10, 200), 1: (0, 40)}
        self.reads = 0
        self._markers = markers

    def read_from(self, start: Offsets) -> Iterator[ReadableRecord]:
        self.reads += 1
        for partition, (first, end) in self.ranges.items():
            assert start[partition] >= first
            for offset in range(start[partition], end):
                if offset not in self._markers:
                    at = BEGUN + timedelta(seconds=offset + 160 * partition)
                    yield read(partition=partition, offset=offset, timestamp=at)


def places(records: list[ReadableRecord]) -> list[tuple[int, int]]:
    return [(record.partition, record.offset) for record in records]


def test_the_last_records_are_the_newest_of_all_partitions_in_the_order_of_time() -> None:
    log = Log()
    assert places(last_records(log.read_from, log.ranges, 4)) == [
        (0, 198),
        (1, 38),
        (0, 199),
        (1, 39),
    ]
    assert log.reads == 1


def test_it_looks_further_back_where_offsets_have_no_records() -> None:
    log = Log(markers=range(30, 200))
    assert places(last_records(log.read_from, log.ranges, 2)) == [(1, 28), (1, 29)]
    assert log.reads > 1


def test_a_topic_with_fewer_records_is_shown_whole() -> None:
    log = Log()
    assert len(last_records(log.read_from, log.ranges, 1_000)) == 190 + 40


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("orders-0@54", ("orders", 0, 54)),
        ("order-events-12@0", ("order-events", 12, 0)),
        ("orders.payment-service.dlt-1@3", ("orders.payment-service.dlt", 1, 3)),
        ("orders", None),
        ("order-events", None),
        ("orders-0", None),
    ],
)
def test_a_records_place_is_told_from_a_topics_name(text: str, place: object) -> None:
    assert place_of(text) == place


def test_an_offset_is_kept_within_what_is_there_and_refused_past_every_end() -> None:
    ranges = {0: (10, 200), 1: (0, 40)}
    assert at_offset("orders", 50, ranges) == {0: 50, 1: 40}
    assert at_offset("orders", 3, ranges) == {0: 10, 1: 3}
    with pytest.raises(ConfigurationError, match=r"no offset 201 yet.*0 at 200, 1 at 40"):
        at_offset("orders", 201, ranges)
