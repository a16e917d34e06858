"""What a command of a deployment says while it waits."""

from __future__ import annotations

import pytest

from orderflow.cli.deployment import patient
from orderflow.messaging.errors import Unavailable


def test_it_says_on_stderr_what_it_waits_for_and_for_how_long(
    capsys: pytest.CaptureFixture[str],
) -> None:
    answers = iter([Unavailable("the registry did not answer", resource="registry")])

    def call() -> int:
        for error in answers:
            raise error
        return 7

    assert patient(60).through(call) == 7
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "the registry did not answer; asking again for up to 60 s" in shown.err
