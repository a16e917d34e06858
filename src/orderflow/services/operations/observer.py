"""The observer: looks at the cluster turn by turn, and exports what it saw."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing

from orderflow.messaging.dead_letters.letter_watch import LetterWatch
from orderflow.messaging.errors import Unavailable
from orderflow.messaging.kafka.survey import Survey, Surveyor
from orderflow.messaging.telemetry import logger
from orderflow.messaging.work.clock import CLOCK, Clock
from orderflow.messaging.work.turning import Turning
from orderflow.services.operations.gauges import Gauges

KEPT_TURNS = 3
"""For how many turns without an answer the last one is still exported."""

NAMED_MAX = 5

log = logger("operations")


class Observer:
    """
    `run(stop)` on one thread; `reasons` from any.

    `surveyor` and `letters` are made by that thread, which alone uses them.
    """

    def __init__(
        self,
        surveyor: Callable[[], Surveyor],
        letters: Callable[[], LetterWatch],
        gauges: Gauges,
        *,
        every_s: float,
        clock: Clock = CLOCK,
    ) -> None:
        self._make_surveyor, self._make_letters = surveyor, letters
        self._gauges = gauges
        self._every_s = every_s
        self._clock = clock
        self._turning = Turning("observer")
        self._reasons = ["the cluster has not been looked at yet"]
        self._seen_at: float | None = None

    def run(self, stop: threading.Event) -> None:
        with ExitStack() as opened:
            surveyor = opened.enter_context(closing(self._make_surveyor()))
            letters = opened.enter_context(closing(self._make_letters()))
            while not stop.is_set():
                self._turn(surveyor, letters)
                self._turning.rest()
                stop.wait(self._every_s)

    def reasons(self) -> list[str]:
        """Why what is exported is not all that there is to see."""
        return [*self._reasons, *self._turning.reasons()]

    def _turn(self, surveyor: Surveyor, letters: LetterWatch) -> None:
        try:
            self._turning.mark("survey")
            survey = surveyor.survey()
            self._gauges.show_survey(survey)
            self._seen_at = self._clock.monotonic()
            self._turning.mark("dead letters")
            counts = letters.look(survey.logs)
        except Unavailable as error:
            self._missed(error)
            return

        # Not before all were read once: a count on its way up would look like letters coming in.
        if letters.is_complete:
            self._gauges.show_letters(counts, at=survey.at)
        self._reasons = _reasons(survey, letters)
        if survey.unread:
            log.warning("the age of records could not be read", partitions=len(survey.unread))

    def _missed(self, error: Unavailable) -> None:
        log.warning("could not look at the cluster", resource=error.resource)
        self._reasons = [f"{error.resource}: does not answer"]
        now = self._clock.monotonic()
        if self._seen_at is None or now - self._seen_at > KEPT_TURNS * self._every_s:
            self._gauges.clear()


def _reasons(survey: Survey, letters: LetterWatch) -> list[str]:
    reasons = []
    if survey.missing:
        reasons.append(f"topics are missing: {_named(survey.missing)}")
    if survey.leaderless:
        places = [f"{topic}-{partition}" for topic, partition in survey.leaderless]
        reasons.append(f"partitions without a leader: {_named(places)}")
    if not letters.is_complete:
        reasons.append("dead letters: not all have been read yet")
    return reasons


def _named(names: Sequence[str]) -> str:
    more = len(names) - NAMED_MAX
    return ", ".join(names[:NAMED_MAX]) + (f" and {more} more" if more > 0 else "")
