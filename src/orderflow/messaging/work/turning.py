"""
Whether a loop still turns: it says what it is at, and whoever asks learns when that takes too long.
"""

from __future__ import annotations

from orderflow.messaging.work.clock import CLOCK, Clock

TURNS_WITHIN_S = 45.0
"""
Longer than any wait that is in order: 15 s for a database's answer, 20 s for a transaction's end,
40 s for committed offsets that a predecessor's open transaction holds back.
"""


class Turning:
    """
    One loop's last sign of life. The loop calls `mark` and `rest`; any thread calls `reasons`.

    It complains after `within_s`, whatever the loop waits for: a lock, a server, a handler that
    never returns. Marks cost a clock reading, so a loop may mark every stage.
    """

    def __init__(
        self, name: str, *, within_s: float = TURNS_WITHIN_S, clock: Clock = CLOCK
    ) -> None:
        self._name = name
        self._within_s = within_s
        self._clock = clock
        # One value, replaced as a whole: a reader must not see the time of one stage and the name
        # of another.
        self._last: tuple[float, str] | None = None

    def mark(self, doing: str) -> None:
        """The loop turns, and is `doing` this from now on."""
        self._last = (self._clock.monotonic(), doing)

    def rest(self) -> None:
        """The loop has nothing to do until it marks again, or has ended."""
        self._last = None

    def reasons(self) -> list[str]:
        """That the loop does not turn, and what it is at; empty if it turns, or rests."""
        last = self._last
        if last is None:
            return []
        since, doing = last
        seconds = self._clock.monotonic() - since
        if seconds <= self._within_s:
            return []
        return [f"{self._name}: has not turned for {seconds:.0f} s, in: {doing}"]
