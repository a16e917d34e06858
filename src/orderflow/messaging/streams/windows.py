"""Windows of event time, as values."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec


class TumblingWindows(msgspec.Struct, frozen=True):
    """
    Windows of one size, one after the other, by event time: they begin at multiples of `size` since
    1970 in UTC.

    A late record belongs to the window of its own time, whose value is restated.
    """

    size: timedelta

    def start_of(self, moment: datetime) -> datetime:
        """The beginning, in UTC, of the window that contains `moment` (aware)."""
        # In a zone whose clocks are changed, differences of times are not those of moments.
        in_utc = moment.astimezone(UTC)
        return in_utc - (in_utc - _EPOCH) % self.size


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
