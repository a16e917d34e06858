"""
Asking again while a part is away, for a stated time: for the steps of a deployment.

A part that has just started, or shares a busy machine, may leave its first requests unanswered. A
step that changes nothing when it is repeated goes on where it was, and says what it waits for.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from orderflow.messaging.errors import Transient, Unfit
from orderflow.messaging.work.clock import CLOCK, Clock

AWAY_S_MAX = 60.0
REST_S = (0.2, 2.0)

T = TypeVar("T")
Waiting = Callable[[Transient, float], None]


class Patience:
    """
    Makes a call again while it raises Transient, from 0.2 s to 2 s apart, until its resource has
    been away for `away_s_max`; then the last error is raised. What succeeds ends an absence.

    `waiting` is called with the error and the seconds that are left, before the first rest and
    whenever the reason changes. Every other error passes at once, Unfit included: who answers as
    something else is not busy.
    """

    def __init__(
        self,
        *,
        waiting: Waiting,
        away_s_max: float = AWAY_S_MAX,
        clock: Clock = CLOCK,
        rest: Callable[[float], None] = time.sleep,
    ) -> None:
        self._waiting = waiting
        self._away_s_max = away_s_max
        self._clock = clock
        self._rest = rest

    def through(self, call: Callable[[], T]) -> T:
        """The result of `call`, which must change nothing when it is repeated."""
        began, reason, rest_s = self._clock.monotonic(), "", REST_S[0]

        while True:
            try:
                return call()
            except Unfit:
                raise
            except Transient as error:
                left_s = began + self._away_s_max - self._clock.monotonic()
                if left_s <= 0:
                    raise
                if error.reason != reason:
                    reason = error.reason
                    self._waiting(error, left_s)
                self._rest(min(left_s, max(self._clock.spread(rest_s), error.retry_after_s)))
                rest_s = min(2 * rest_s, REST_S[1])
