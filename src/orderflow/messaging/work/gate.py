"""
A stage of the loop that is open, or closed because what it needs is away: then one probe per
back-off, no more.
"""

from __future__ import annotations

from collections import defaultdict

from orderflow.messaging.errors import Transient, plain
from orderflow.messaging.telemetry import gauge, logger
from orderflow.messaging.work.clock import CLOCK, Clock

BACK_OFF_S = (0.1, 5.0)

CLOSED = gauge(
    "listener_gate_closed",
    "1 while a listener waits for a resource, else 0.",
    ("listener", "resource"),
)

_closed: dict[tuple[str, str], set[str]] = defaultdict(set)
"""The stages that are closed, by listener and resource: several may wait for the same one."""

log = logger("listener")


class Gate:
    """
    Closed by `failed`, opened by `succeeded`. While it is closed, `may_try` is true once per
    back-off (0.1 s, doubled up to 5 s, ± 20 %), and `is_probing` says that this try is a probe: one
    record, not a batch.
    """

    def __init__(self, listener: str, stage: str, *, clock: Clock = CLOCK) -> None:
        self.reason = ""
        self._clock = clock
        self._listener = listener
        self._stage = stage
        self.resource = ""
        self._closed_until = 0.0
        self._back_off_s = 0.0
        self._closed_at = 0.0

    @property
    def is_probing(self) -> bool:
        return self._back_off_s != 0.0

    def is_closed_since(self, moment: float) -> bool:
        """Whether it was closed before that moment, in monotonic seconds, and not opened since."""
        return self.is_probing and self._closed_at <= moment

    def may_try(self, now: float) -> bool:
        return not self.is_probing or now >= self._closed_until

    @property
    def next_try_at(self) -> float:
        """Monotonic seconds; 0 when it is open."""
        return self._closed_until if self.is_probing else 0.0

    def failed(self, error: Transient) -> None:
        """
        Close, or stay closed for longer. Failures of what had begun before it closed count once.
        """
        now = self._clock.monotonic()
        if self.is_probing and now < self._closed_until:
            if error.retry_after_s:
                self._closed_until = max(self._closed_until, now + error.retry_after_s)
            return

        least, most = BACK_OFF_S
        if not self.is_probing:
            self._closed_at = now
            log.warning(
                "waiting",
                listener=self._listener,
                stage=self._stage,
                resource=error.resource,
                why=str(error),
            )

        self._back_off_s = min(most, max(least, 2 * self._back_off_s))
        # A resource that says when it wants to be tried again is not asked before; the spread is
        # never subtracted from that.
        self._closed_until = now + max(self._clock.spread(self._back_off_s), error.retry_after_s)

        if self.resource and self.resource != error.resource:
            self._show(closed=False)
        self.resource, self.reason = error.resource, plain(error)
        self._show(closed=True)

    def succeeded(self) -> None:
        if self.is_probing:
            log.info("going on", listener=self._listener, stage=self._stage, resource=self.resource)
            self._show(closed=False)
            self._back_off_s, self.reason, self.resource = 0.0, "", ""

    def _show(self, *, closed: bool) -> None:
        stages = _closed[self._listener, self.resource]
        (stages.add if closed else stages.discard)(self._stage)
        CLOSED.labels(self._listener, self.resource).set(bool(stages))
