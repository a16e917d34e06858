"""How long a record can come again, from what a cluster says of its topics."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

import pytest

from orderflow.messaging.kafka.record_life import MARGIN, longest
from orderflow.messaging.kafka.topics import TopicDescription

DAY_MS = 86_400_000
NO_OTHERS: Mapping[str, str] = {}


def described(
    retention_days: int, *, segment_days: int = 1, config: Mapping[str, str] = NO_OTHERS
) -> TopicDescription:
    defaults = {
        "cleanup.policy": "delete",
        "retention.ms": str(retention_days * DAY_MS),
        "segment.ms": str(segment_days * DAY_MS),
    }
    return TopicDescription(partitions=1, replicas=1, config={**defaults, **config})


def test_the_topic_that_is_kept_longest_decides_with_its_segment() -> None:
    assert longest([described(7), described(40, segment_days=7)]) == timedelta(days=47) + MARGIN


@pytest.mark.parametrize("config", [{"retention.ms": "-1"}, {"cleanup.policy": "compact"}])
def test_one_topic_that_keeps_records_for_ever_is_enough(config: dict[str, str]) -> None:
    assert longest([described(7), described(7, config=config)]) is None
