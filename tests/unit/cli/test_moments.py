"""Times as they are typed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from orderflow.cli.moments import moment_of
from orderflow.messaging.errors import ConfigurationError

NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "ago"), [("90s", 90), ("10 min", 600), ("10m", 600), ("2h", 7_200), ("3d", 259_200)]
)
def test_a_time_may_be_how_long_ago(text: str, ago: int) -> None:
    assert moment_of(text, now=NOW) == NOW - timedelta(seconds=ago)


def test_a_time_without_a_zone_is_utc() -> None:
    assert moment_of("2026-01-31T09:05", now=NOW) == datetime(2026, 1, 31, 9, 5, tzinfo=UTC)


@pytest.mark.parametrize("text", ["", "yesterday", "5 weeks", "999999d", "2026-13-01"])
def test_what_is_no_time_is_refused_with_what_would_be_one(text: str) -> None:
    with pytest.raises(ConfigurationError, match="is no time: write 2026-01-31T09:05"):
        moment_of(text, now=NOW)
