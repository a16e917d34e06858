"""What the observer exports: with the names of Kafka's exporters, where they have one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from datetime import datetime

from orderflow.messaging.dead_letters.open_letters import OpenCount
from orderflow.messaging.kafka.group_topics import group_of
from orderflow.messaging.kafka.place import Place
from orderflow.messaging.kafka.survey import Survey
from orderflow.messaging.telemetry import GaugeTable

GROUP_LABELS = ("consumergroup", "topic", "partition")
PLACE_LABELS = ("topic", "partition")
LETTER_LABELS = ("consumergroup", "topic")

Labels = tuple[str, ...]


class Gauges:
    """
    The series of one survey at a time: what is no longer there is gone with the next.

    `topics`: those that groups may have dead letters of. `table` makes a metric. An age that could
    not be read has no series: 0 would say that all is well.
    """

    def __init__(
        self, topics: Collection[str], *, table: Callable[..., GaugeTable] = GaugeTable
    ) -> None:
        self._topics = topics
        self._brokers = table("kafka_brokers", "Brokers that are up; 0: none answers")
        self._lag = table(
            "kafka_consumergroup_lag", "Records that the group has not finished", GROUP_LABELS
        )
        self._lag_seconds = table(
            "kafka_consumergroup_lag_seconds",
            "Age of the lowest record that the group has not finished; 0 if there is none",
            GROUP_LABELS,
        )
        self._lag_sum = table(
            "kafka_consumergroup_lag_sum",
            "Records that the group has not finished, of all partitions",
            GROUP_LABELS[:2],
        )
        self._committed = table(
            "kafka_consumergroup_current_offset",
            "The lowest offset that the group has not finished",
            GROUP_LABELS,
        )

        self._end = table(
            "kafka_topic_partition_current_offset", "The end of the partition", PLACE_LABELS
        )
        self._first = table(
            "kafka_topic_partition_oldest_offset", "The first retained offset", PLACE_LABELS
        )
        self._under_replicated = table(
            "kafka_topic_partition_under_replicated_partition",
            "1 while a replica is not in sync",
            PLACE_LABELS,
        )
        self._open_transaction = table(
            "orderflow_open_transaction_seconds",
            "Age of the oldest open transaction, of its first record; 0 if none is open",
            PLACE_LABELS,
        )

        self._letters = table(
            "orderflow_dead_letters_open",
            "Dead letters that nobody has dealt with yet",
            LETTER_LABELS,
        )
        self._letters_oldest = table(
            "orderflow_dead_letters_open_oldest_seconds",
            "Age of the oldest open dead letter; 0 if there is none",
            LETTER_LABELS,
        )

    def show_survey(self, survey: Survey) -> None:
        self._brokers.replace({(): survey.brokers})
        self._show_groups(survey)

        logs = survey.logs
        self._end.replace({_of(place): log.end for place, log in logs.items()})
        self._first.replace({_of(place): log.first for place, log in logs.items()})
        self._under_replicated.replace(
            {_of(place): log.under_replicated for place, log in logs.items()}
        )
        ages = {place: survey.open_transactions.get(place, 0.0) for place in logs}
        self._open_transaction.replace(
            {_of(place): age for place, age in ages.items() if age is not None}
        )

    def show_letters(self, counts: Mapping[str, OpenCount], *, at: datetime) -> None:
        self._letters.replace(
            {self._letter_labels(topic): count.letters for topic, count in counts.items()}
        )
        self._letters_oldest.replace(
            {
                self._letter_labels(topic): 0.0
                if count.oldest_written_s is None
                else max(0.0, at.timestamp() - count.oldest_written_s)
                for topic, count in counts.items()
            }
        )

    def clear(self) -> None:
        """Nothing is known any more, but that no broker answers."""
        for table in (
            *(self._lag, self._lag_seconds, self._lag_sum, self._committed),
            *(self._end, self._first, self._under_replicated, self._open_transaction),
            *(self._letters, self._letters_oldest),
        ):
            table.clear()
        self._brokers.replace({(): 0})

    def _show_groups(self, survey: Survey) -> None:
        lags = [(row.lag, row.seconds) for row in survey.lags]
        self._lag.replace({(lag.group, *_of(lag.place)): lag.records for lag, _ in lags})
        self._lag_seconds.replace(
            {(lag.group, *_of(lag.place)): seconds for lag, seconds in lags if seconds is not None}
        )
        self._committed.replace(
            {
                (lag.group, *_of(lag.place)): lag.committed
                for lag, _ in lags
                if lag.committed is not None
            }
        )

        sums: Counter[Labels] = Counter()
        for lag, _ in lags:
            sums[lag.group, lag.topic] += lag.records
        self._lag_sum.replace(sums)

    def _letter_labels(self, topic: str) -> Labels:
        return group_of(topic, self._topics) or "", topic


def _of(place: Place) -> Labels:
    topic, partition = place
    return topic, str(partition)
