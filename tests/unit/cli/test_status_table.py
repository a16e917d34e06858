"""The table of `orderflow status`: whole words at 80 columns and at 120."""

from __future__ import annotations

import io

import pytest

from orderflow.cli.stack import _table
from orderflow.cli.terminal import Terminal
from orderflow.stack.supervise.managed import ProcessRow

WIDEST = ProcessRow(
    name="notification-relay",
    service="notification",
    role="api,listener,relay,sweeper",
    slot=0,
    pid=4_194_303,
    address="http://127.0.0.1:18087",
    state="backing-off",
    health="degraded",
    restarts=1_234,
    reason="no slot",
)


def printed(width: int) -> list[str]:
    file = io.StringIO()
    Terminal(file=file, width=width).print(_table([WIDEST], width=width))
    return file.getvalue().splitlines()


@pytest.mark.parametrize("width", [80, 120])
def test_each_process_is_one_line_with_whole_words(width: int) -> None:
    lines = printed(width)
    assert len(lines) == 2
    assert max(map(len, lines)) <= width
    for word in ("notification-relay", "4194303", "127.0.0.1:18087", "backing-off", "degraded"):
        assert word in lines[1]


def test_roles_are_there_where_there_is_room() -> None:
    assert "api,listener,relay,sweeper" in printed(120)[1]
    assert "role" not in printed(80)[0]
