"""Times as they are typed: a moment, or how long ago."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from orderflow.messaging.errors import ConfigurationError

_AGO = re.compile(r"(\d{1,6}) ?(s|m|min|h|d)")
_SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3_600, "d": 86_400}


def moment_of(text: str, *, now: datetime) -> datetime:
    """`2026-01-31T09:05`, UTC unless it says otherwise; or how long ago: `90s 10min 10m 2h 3d`."""
    try:
        if match := _AGO.fullmatch(text.strip()):
            return now - timedelta(seconds=int(match[1]) * _SECONDS[match[2]])
        moment = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise ConfigurationError(
            f"{text!r} is no time: write 2026-01-31T09:05 (UTC), or how long ago, as 10min, 2h, 3d"
        ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
