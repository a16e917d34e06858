"""What `orderflow topics` says beside its table."""

from __future__ import annotations

from datetime import timedelta
from typing import cast

import pytest

from orderflow.cli.topics import warn_of_short_memory
from orderflow.messaging.kafka.admin import Admin


class Brokers:
    def __init__(self, days: int) -> None:
        self._days = days

    def offsets_kept_for(self) -> timedelta:
        return timedelta(days=self._days)


@pytest.mark.parametrize(("days", "is_said"), [(7, True), (29, True), (30, False), (365, False)])
def test_brokers_that_forget_a_group_before_its_records_are_named(
    capsys: pytest.CaptureFixture[str], *, days: int, is_said: bool
) -> None:
    warn_of_short_memory(cast("Admin", Brokers(days)))
    printed = capsys.readouterr()
    assert printed.out == ""
    assert (f"offsets.retention.minutes is {days * 1440}" in printed.err) == is_said
