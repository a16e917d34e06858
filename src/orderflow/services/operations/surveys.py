"""What the API shows of the cluster: surveys of its own, shared by all who ask at the same time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from orderflow.messaging.kafka.groups import Groups, Membership
from orderflow.messaging.kafka.lag_report import Report, report
from orderflow.messaging.kafka.survey import Survey, Surveyor
from orderflow.messaging.work.clock import CLOCK, Clock

FRESH_S = 1.0
"""A younger survey answers: many who ask at once cost the brokers one look."""

RATE_OVER_S = 10.0
"""A rate is that since the oldest survey of the last ten seconds; without one it is not known."""

SURVEYS_MAX = 12


class Surveys:
    """
    Not thread-safe: one thread's. `surveyor` and `groups` are made by it, at the first question.

    Both raise Unavailable when the brokers do not answer; the next question asks them again.
    """

    def __init__(
        self,
        surveyor: Callable[[], Surveyor],
        groups: Callable[[], Groups],
        *,
        clock: Clock = CLOCK,
    ) -> None:
        self._make_surveyor, self._make_groups = surveyor, groups
        self._surveyor: Surveyor | None = None
        self._groups: Groups | None = None
        self._clock = clock
        self._surveys: deque[tuple[float, Survey]] = deque(maxlen=SURVEYS_MAX)

    def report(self) -> Report:
        """How far everybody is behind, as it was at most a second ago."""
        now = self._clock.monotonic()
        if not self._surveys or now - self._surveys[-1][0] >= FRESH_S:
            self._look()
            now = self._clock.monotonic()

        recent = [survey for at, survey in self._surveys if now - at <= RATE_OVER_S]
        _, last = self._surveys[-1]
        return report(last, before=recent[0] if recent else last)

    def memberships(self) -> dict[str, Membership]:
        """Who is in which group."""
        if self._groups is None:
            self._groups = self._make_groups()
        return self._groups.memberships()

    def _look(self) -> None:
        if self._surveyor is None:
            self._surveyor = self._make_surveyor()
        survey = self._surveyor.survey()
        self._surveys.append((self._clock.monotonic(), survey))
