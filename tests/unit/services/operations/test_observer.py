"""The observer: what it exports of what it saw, and what it says when it can't see."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any, cast

from prometheus_client import CollectorRegistry
from tests.support.recorded_metrics import Series

from orderflow.messaging.dead_letters.letter_watch import LetterWatch
from orderflow.messaging.dead_letters.open_letters import OpenCount
from orderflow.messaging.errors import Unavailable
from orderflow.messaging.kafka.lag import Lag
from orderflow.messaging.kafka.place import Place
from orderflow.messaging.kafka.survey import GroupLag, Log, Survey, Surveyor
from orderflow.messaging.telemetry import GaugeTable
from orderflow.messaging.work.clock import Clock
from orderflow.services.operations.gauges import Gauges
from orderflow.services.operations.observer import Observer

AT = datetime(2026, 1, 31, 9, tzinfo=UTC)
PLACE = {"topic": "orders", "partition": "0"}
GROUP = {"consumergroup": "payment-service", **PLACE}
LETTERS = "orders.payment-service.dlt"


def survey(records: int = 0, seconds: float | None = 0.0, **more: Any) -> Survey:
    place: Place = ("orders", 0)
    lag = Lag(group=GROUP["consumergroup"], topic="orders", partition=0, records=records)
    given: dict[str, Any] = {
        "at": AT,
        "brokers": 3,
        "logs": {place: Log(first=5, end=90, stable_end=80, under_replicated=True)},
        "lags": [GroupLag(lag=lag, seconds=seconds)],
        "open_transactions": {},
    }
    return Survey(**{**given, **more})


class FakeClock(Clock):
    def __init__(self) -> None:
        super().__init__()
        self.passed_s = 0.0

    def monotonic(self) -> float:
        return self.passed_s


class FakeCluster:
    """Surveyor and letter watch in one; after the last survey the observer is stopped."""

    def __init__(self, *surveys: Survey | Unavailable) -> None:
        self.surveys = list(surveys)
        self.stop = threading.Event()
        self.clock = FakeClock()
        self.registry = CollectorRegistry()
        self.counts: Mapping[str, OpenCount] = {}
        self.is_complete = True
        self.after_turn: list[dict[Series, float]] = []
        self.observer = Observer(
            cast("Callable[[], Surveyor]", lambda: self),
            cast("Callable[[], LetterWatch]", lambda: self),
            Gauges({"orders"}, table=partial(GaugeTable, registry=self.registry)),
            every_s=0.0,
            clock=self.clock,
        )

    def survey(self) -> Survey:
        self.after_turn.append(self.exported())
        self.clock.passed_s += 1
        seen = self.surveys.pop(0)
        if not self.surveys:
            self.stop.set()
        if isinstance(seen, Unavailable):
            raise seen
        return seen

    def look(self, _logs: Mapping[Place, Log]) -> Mapping[str, OpenCount]:
        return self.counts

    def close(self) -> None:
        pass

    def exported(self) -> dict[Series, float]:
        return {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in self.registry.collect()
            for sample in family.samples
        }

    def run(self) -> dict[str, list[float]]:
        """The values of each metric after the last turn."""
        self.observer.run(self.stop)
        values: dict[str, list[float]] = {}
        for (name, _labels), number in self.exported().items():
            values.setdefault(name, []).append(number)
        return values


AWAY = Unavailable("no broker at 10.0.0.7 answers", resource="broker")


def test_everything_of_a_survey_is_exported() -> None:
    cluster = FakeCluster(survey(7, 42.5, open_transactions={("orders", 0): 12.0}))
    cluster.counts = {LETTERS: OpenCount(letters=2, oldest_written_s=AT.timestamp() - 60)}
    cluster.run()
    of_group, of_place = tuple(sorted(GROUP.items())), tuple(sorted(PLACE.items()))
    letters = tuple(sorted({"consumergroup": "payment-service", "topic": LETTERS}.items()))
    assert cluster.exported() == {
        ("kafka_brokers", ()): 3,
        ("kafka_consumergroup_lag", of_group): 7,
        ("kafka_consumergroup_lag_seconds", of_group): 42.5,
        (
            "kafka_consumergroup_lag_sum",
            (("consumergroup", "payment-service"), ("topic", "orders")),
        ): 7,
        ("kafka_topic_partition_current_offset", of_place): 90,
        ("kafka_topic_partition_oldest_offset", of_place): 5,
        ("kafka_topic_partition_under_replicated_partition", of_place): 1,
        ("orderflow_open_transaction_seconds", of_place): 12,
        ("orderflow_dead_letters_open", letters): 2,
        ("orderflow_dead_letters_open_oldest_seconds", letters): 60,
    }


def test_what_is_at_rest_is_0_and_an_age_that_could_not_be_read_is_not() -> None:
    at_rest = FakeCluster(survey()).run()
    assert at_rest["kafka_consumergroup_lag_seconds"] == [0]
    assert at_rest["orderflow_open_transaction_seconds"] == [0]
    unread = FakeCluster(survey(7, None, open_transactions={("orders", 0): None})).run()
    assert unread["kafka_consumergroup_lag"] == [7]
    assert "kafka_consumergroup_lag_seconds" not in unread
    assert "orderflow_open_transaction_seconds" not in unread


def test_a_group_that_is_gone_is_not_exported_any_more() -> None:
    gone = FakeCluster(survey(7, 1.0), survey(lags=[], logs={})).run()
    assert gone == {"kafka_brokers": [3]}


def test_open_letters_are_exported_once_all_were_read() -> None:
    cluster = FakeCluster(survey())
    cluster.counts = {LETTERS: OpenCount(letters=2, oldest_written_s=0.0)}
    cluster.is_complete = False
    assert "orderflow_dead_letters_open" not in cluster.run()
    assert cluster.observer.reasons() == ["dead letters: not all have been read yet"]


def test_it_is_not_ready_before_it_has_looked_and_while_nobody_answers_and_names_no_host() -> None:
    cluster = FakeCluster(AWAY)
    assert cluster.observer.reasons() == ["the cluster has not been looked at yet"]
    assert cluster.run() == {"kafka_brokers": [0]}
    assert cluster.observer.reasons() == ["broker: does not answer"]


def test_the_last_answer_is_exported_for_a_while_and_then_nothing_but_that_nobody_answers() -> None:
    cluster = FakeCluster(survey(7), AWAY, AWAY, survey(8), AWAY)
    cluster.observer._every_s = 0.5
    cluster.run()
    brokers = [after.get(("kafka_brokers", ())) for after in cluster.after_turn]
    assert brokers == [None, 3, 3, 0, 3]


def test_missing_topics_and_partitions_without_a_leader_are_named() -> None:
    cluster = FakeCluster(
        survey(missing=[f"topic-{number}" for number in range(7)], leaderless=[("orders", 2)])
    )
    cluster.run()
    assert cluster.observer.reasons() == [
        "topics are missing: topic-0, topic-1, topic-2, topic-3, topic-4 and 2 more",
        "partitions without a leader: orders-2",
    ]
