"""
What the desk makes of a broker's answers: librdkafka's own mock broker gives those that no real one
gives on demand. What a broker keeps is proved in `test_desk`.
"""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaError
from tests.support.dead_letters import dead_letter
from tests.support.mock_cluster import Api, MockCluster

from orderflow.messaging.dead_letters import desk_session
from orderflow.messaging.dead_letters.desk import Desk
from orderflow.messaging.dead_letters.desk_session import DeskTaken
from orderflow.messaging.dead_letters.letters import ANY
from orderflow.messaging.dead_letters.replay_plan import DeskReport
from orderflow.messaging.errors import ConfigurationError, Unavailable
from orderflow.messaging.kafka import clients
from orderflow.messaging.settings import KafkaSettings

TOPIC, GROUP, DECIDED = "parcels", "parcel-service", "decided"
DLT, REPLAY = f"{TOPIC}.{GROUP}.dlt", f"{TOPIC}.{GROUP}.replay"
KEYS = (b"a", b"b", b"c")


@pytest.fixture
def desk(mock_cluster: MockCluster) -> Desk:
    """With three letters, of three keys."""
    for topic in (DLT, REPLAY, DECIDED):
        mock_cluster.create_topic(topic)
    kafka = KafkaSettings(bootstrap_servers=mock_cluster.bootstrap_servers)
    producer = clients.producer(kafka)
    for offset, key in enumerate(KEYS):
        _topic, key_, value, headers = dead_letter(TOPIC, GROUP, offset, key=key)
        producer.produce(DLT, value, key_, headers=headers)
    assert producer.flush(10) == 0
    return Desk(kafka, {GROUP: (TOPIC,)}, DECIDED)


def replay(desk: Desk) -> DeskReport:
    return desk.replay(ANY, by="ada")


def test_a_topic_that_may_not_be_written_is_said_and_nothing_has_changed(
    desk: Desk, mock_cluster: MockCluster
) -> None:
    mock_cluster.fail(Api.PRODUCE, *[KafkaError.TOPIC_AUTHORIZATION_FAILED] * 4)
    with pytest.raises(
        ConfigurationError, match=f"{REPLAY} or {DECIDED} may not be written.*nothing"
    ):
        replay(desk)


def test_a_transactional_id_that_may_not_be_used_is_said(
    desk: Desk, mock_cluster: MockCluster
) -> None:
    mock_cluster.fail(
        Api.INIT_PRODUCER_ID, *[KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED] * 10
    )
    with pytest.raises(ConfigurationError, match=r"transactional id decided\.desk"):
        replay(desk)


@pytest.mark.parametrize(
    ("api", "code"),
    [
        (Api.ADD_PARTITIONS_TO_TXN, KafkaError.COORDINATOR_NOT_AVAILABLE),
        (Api.END_TXN, KafkaError.CONCURRENT_TRANSACTIONS),
        (Api.PRODUCE, KafkaError.NOT_LEADER_FOR_PARTITION),
    ],
)
def test_what_passes_is_tried_again(
    desk: Desk, mock_cluster: MockCluster, api: Api, code: int
) -> None:
    """
    Not what leaves the outcome unknown: this broker shows what an aborted transaction has written,
    so the desk would read dispositions that no other broker shows.
    """
    mock_cluster.fail(api, code)
    assert replay(desk).done == len(KEYS)


@pytest.mark.parametrize(
    ("api", "code"),
    [
        (Api.END_TXN, KafkaError.PRODUCER_FENCED),
        (Api.END_TXN, KafkaError.INVALID_PRODUCER_EPOCH),
        (Api.INIT_PRODUCER_ID, KafkaError.PRODUCER_FENCED),
    ],
)
def test_who_is_fenced_ends_and_says_so(
    desk: Desk, mock_cluster: MockCluster, api: Api, code: int
) -> None:
    """How many letters were sent it reads; this broker shows it what is not committed, too."""
    mock_cluster.fail(api, code)
    with pytest.raises(DeskTaken, match="another desk has begun"):
        replay(desk)


def test_a_broker_that_does_not_answer_has_an_end(
    desk: Desk, mock_cluster: MockCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desk_session, "BROKER_WITHIN_S", 0.5)
    mock_cluster.fail(Api.INIT_PRODUCER_ID, *[KafkaError.COORDINATOR_LOAD_IN_PROGRESS] * 5_000)
    with pytest.raises(Unavailable, match="nothing was changed"):
        replay(desk)
