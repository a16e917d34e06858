"""When what is ready should be handled: a wave is worth its cost with enough records in it."""

from __future__ import annotations

from collections.abc import Callable

from orderflow.messaging.container.client.kafka_client import KafkaClient
from orderflow.messaging.container.records.queues import Queues
from orderflow.messaging.work.gate import Gate


class Gathering:
    """
    Rests after what was ready is handled, while records gather: `rest_s` says for how long, given
    how long that took. What comes after a longer rest is handled at once, and so is what fills
    `records`, what a full window holds back, and what is probed.
    """

    def __init__(
        self,
        *,
        client: KafkaClient,
        queues: Queues,
        gate: Gate,
        records: int,
        rest_s: Callable[[float], float],
    ) -> None:
        self._client = client
        self._queues = queues
        self._gate = gate
        self._records = records
        self._rest_s = rest_s
        self._began_at: float | None = None
        self._rest_until = float("-inf")

    @property
    def due_at(self) -> float:
        """From when on it should be handled, in monotonic seconds."""
        # What was begun is brought to its end, and what was away is probed when its gate says so.
        if self._began_at is not None or self._gate.is_probing or self._is_full:
            return 0.0
        return self._rest_until

    @property
    def _is_full(self) -> bool:
        partitions = self._client.partitions.values()
        # A partition that holds records back brings no more until some are finished.
        return any(partition.held for partition in partitions) or (
            sum(len(partition.unfinished) for partition in partitions) >= self._records
        )

    def begin(self, now: float) -> None:
        """A wave is handled, now."""
        if self._began_at is None:
            self._began_at = now

    def end_turn(self, now: float) -> None:
        """The turn's waves are handled."""
        if self._began_at is not None and not self._queues.ready:
            self._rest_until = now + self._rest_s(now - self._began_at)
            self._began_at = None
