"""
The group without its instances, for as long as its state is put in the place of the old one.

Every instance is asked to pause: it stands still, and answers. Then this process is the group's
only member, and has every partition. That is the lock: offsets go with the generation in which that
was so, and once any instance has come back, Kafka refuses the transaction. The pauses are only
manners, and end by themselves.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import httpx2

from orderflow.messaging.error_text import error_text
from orderflow.messaging.errors import Refused, Unavailable
from orderflow.messaging.http.actor import ACTOR_HEADER
from orderflow.messaging.http.client import BoundedClient
from orderflow.messaging.kafka.clients import (
    KafkaException,
    TopicPartition,
    consumer,
    transactional_producer,
)
from orderflow.messaging.kafka.groups import Members
from orderflow.messaging.kafka.place import Place
from orderflow.messaging.kafka.transactions import Placed, Transactions
from orderflow.messaging.settings import KafkaSettings
from orderflow.messaging.streams.interactive_queries import PATH, PAUSED_WITHIN_S
from orderflow.messaging.telemetry import logger

ASK_AGAIN_S = 5.0
"""How often instances are told again: also those that have come meanwhile."""
PAUSE_S = 60.0
ALONE_WITHIN_S = 90.0
"""A killed instance stays a member until its session ends."""
POLL_S = 0.3
SESSION_MS = 10_000
TRANSACTION_MS = 60_000

log = logger("streams")


class Instances:
    """The instances of a service, by the addresses that the group knows."""

    def __init__(self, kafka: KafkaSettings, group: str, *, actor: str, reason: str) -> None:
        self._members = Members(kafka, group)
        self._client = BoundedClient(within_s=PAUSED_WITHIN_S + 2, trust_env=False)
        self._headers = {ACTOR_HEADER: actor}
        self._reason = reason
        self._told_at = -ASK_AGAIN_S
        self.paused: set[str] = set()

    def keep_paused(self) -> None:
        """Tell every instance to pause, or to stay so; not more often than is needed."""
        if time.monotonic() - self._told_at < ASK_AGAIN_S:
            return
        self._told_at = time.monotonic()

        clients = set(self._members.assigned().values())
        self.paused |= {url for _name, at, url in (it.partition("@") for it in clients) if at}
        body = {"seconds": PAUSE_S, "reason": self._reason}
        for url in sorted(self.paused):
            self._post(f"{url}{PATH}/pause", body)

    def resume(self) -> None:
        """Tell every instance that was paused to go on."""
        for url in sorted(self.paused):
            self._post(f"{url}{PATH}/resume", None)
        self.paused = set()

    def close(self) -> None:
        self._client.close()

    def _post(self, url: str, body: Mapping[str, Any] | None) -> None:
        try:
            answer = self._client.post(url, json=body, headers=self._headers)
        except httpx2.TransportError as error:
            # It may be dead: then its session ends. If it lives, the group says so.
            log.warning("an instance did not answer", url=url, why=error_text(error))
            return
        if not answer.is_success:
            log.warning("an instance did not do so", url=url, status=answer.status_code)


class Takeover:
    """
    Membership in the group, until `close`. `between` is called in every wait.

    `topics`: how many partitions each topic has that the group reads.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        group: str,
        topics: Mapping[str, int],
        *,
        between: Callable[[], None],
    ) -> None:
        self._kafka = kafka
        self._group = group
        self._topics = topics
        self._between = between
        self._generation: Any = None
        # No address in its name: nobody can ask it anything.
        overrides = {"client.id": f"{group}-rebuild", "session.timeout.ms": SESSION_MS}
        self._consumer = consumer(kafka, group, **overrides)

    def take(self) -> None:
        """Have every partition, or have it again. Raises Refused if others stay for 90 s."""
        if self._generation is None:
            self._consumer.subscribe([*self._topics], on_assign=_fetch_nothing)
        deadline = time.monotonic() + ALONE_WITHIN_S

        while True:
            self._await_all(deadline)
            self._generation = self._consumer.consumer_group_metadata()
            # Were they lost before that was asked for, this poll says so: a member that is none
            # has no generation, and without any Kafka would check nothing.
            self._consumer.poll(0)
            if not self._missing():
                return

    def keep(self) -> None:
        """Show the group that this member lives; nothing is read."""
        self._consumer.poll(0)

    def commit(self, placed: Sequence[Placed], offsets: Mapping[Place, int]) -> None:
        """
        Put `placed` and the group's `offsets` into one transaction.

        Raises Transient: TransactionAborted, and nothing was changed, as when the group has changed
        since `take`; ProducerLost, and whether it is committed is unknown: compare.
        """
        assert self._generation is not None
        producer = transactional_producer(
            self._kafka, f"{self._group}.rebuild", **{"transaction.timeout.ms": TRANSACTION_MS}
        )
        transactions = Transactions(producer, between=self._between)
        transactions.init()
        transactions.begin()
        transactions.produce_placed(placed)
        transactions.flush()

        # Of when it was alone, not of now: in the group's present generation others may have part.
        positions = [TopicPartition(*place, offset) for place, offset in offsets.items()]
        transactions.send_offsets(positions, self._generation)
        transactions.commit()

    def close(self) -> None:
        """Leave the group."""
        self._consumer.close()

    def _await_all(self, deadline: float) -> None:
        while missing := self._missing():
            if time.monotonic() >= deadline:
                raise Refused(
                    f"group {self._group}: others still have {missing} partitions, and do not"
                    " pause; nothing was changed: stop those instances, or try again"
                )
            self._between()
            self._consumer.poll(POLL_S)

    def _missing(self) -> int:
        """How many partitions this member does not have."""
        try:
            assigned = {(tp.topic, tp.partition) for tp in self._consumer.assignment()}
        except KafkaException as error:
            raise Unavailable(f"the group: {error.args[0].str()}", resource="broker") from error
        return sum(
            (name, number) not in assigned
            for name, count in self._topics.items()
            for number in range(count)
        )


def _fetch_nothing(client: Any, partitions: list[TopicPartition]) -> None:
    client.incremental_assign(partitions)
    client.pause(partitions)
