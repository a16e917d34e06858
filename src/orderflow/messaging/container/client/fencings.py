"""
Whether another worker has this one's slot, or a producer or consumer was fenced for another reason.
"""

from __future__ import annotations

from orderflow.messaging.kafka.clients import TRANSACTION_TIMEOUT_MS

TWICE_WITHIN_S = 60.0


class Fencings:
    """
    Remembers when this worker's producers were fenced by another producer, its consumers by another
    member.

    The broker fences with the same answer for two reasons. After `transaction.timeout.ms` it ends a
    transaction by itself: however often that happens, nobody else is there. A transaction that was
    open for less was ended by a newer producer with the same id.
    """

    def __init__(self) -> None:
        self._last_at = -TWICE_WITHIN_S
        self._instance_at = -TWICE_WITHIN_S

    def is_second_instance(self, now: float) -> bool:
        """Whether this worker's instance id was taken for the second time within a minute."""
        is_second = now - self._instance_at < TWICE_WITHIN_S
        self._instance_at = now
        return is_second

    def is_replaced(self, *, open_s: float, now: float) -> bool:
        """
        Whether this worker has to end: a newer producer fenced it twice within a minute.

        `open_s`: for how long the lost transaction was open; `now`: monotonic seconds. Once may be
        this worker's own successor that ended again; its consumer hears of a living one.
        """
        if open_s >= TRANSACTION_TIMEOUT_MS / 1000:
            return False
        is_second = now - self._last_at < TWICE_WITHIN_S
        self._last_at = now
        return is_second
