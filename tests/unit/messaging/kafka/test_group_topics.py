"""The topics of one group's dead letters."""

from __future__ import annotations

from tests.support.probe_language import topics

from orderflow.messaging.kafka.group_topics import group_topics


def test_each_topic_has_its_dead_letters_and_their_replay_for_the_group() -> None:
    parcels, losses = topics("parcels", 3)
    own = group_topics((parcels, losses), "billing")

    assert [topic.name for topic in own] == [
        "parcels.billing.dlt",
        "parcels.billing.replay",
        "parcels-told.billing.dlt",
        "parcels-told.billing.replay",
    ]
    assert all(topic.key == parcels.key and topic.partitions == 1 for topic in own)
    assert all(topic.record_bytes_max > parcels.record_bytes_max for topic in own)
