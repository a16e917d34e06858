"""What `orderflow relay held` shows of rows that a topic refused, and what it notes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from msgspec.structs import replace
from typer.testing import CliRunner, Result

from orderflow.cli import held
from orderflow.messaging.errors import ConfigurationError, OrderflowError
from orderflow.messaging.relay.held_rows import Decision, HeldRow, HeldRowContent

LARGE, BEHIND, OTHER = (UUID(int=number) for number in (1, 2, 3))
NOW = datetime.now(UTC)


def row(event_id: UUID, key: str, *, why: str | None, service: str = "order") -> HeldRow:
    return HeldRow(
        service=service,
        event_id=event_id,
        topic="orders",
        key=key,
        type="OrderCreated",
        since=NOW - timedelta(minutes=3),
        bytes=900_000,
        why=why,
        refusals=1 if why else 0,
        sending=False,
        wanted=None,
        wanted_by=None,
        because=None,
        wanted_at=None,
    )


ROWS = [
    row(LARGE, "k1", why="MSG_SIZE_TOO_LARGE \x1b[2J Broker: Message size too large"),
    row(BEHIND, "k1", why=None),
    row(OTHER, "k2", why="INVALID_RECORD", service="inventory"),
]


class Databases:
    """Those of the services: what they hold, and what was noted in them."""

    def __init__(self) -> None:
        self.noted: list[tuple[str, list[UUID], str, str]] = []
        self.being_sent: set[UUID] = set()

    def held_rows(self, service: str) -> Sequence[HeldRow]:
        # By the clock of the moment: the command's `now` may be minutes after the import.
        since = datetime.now(UTC) - timedelta(minutes=3)
        return [replace(each, since=since) for each in ROWS if each.service == service]

    def note_wanted(
        self, service: str, ids: list[UUID], *, wanted: str, by: str, because: str
    ) -> list[UUID]:
        assert by
        self.noted.append((service, ids, wanted, because))
        return [event_id for event_id in ids if event_id not in self.being_sent]

    def held_row(self, service: str, event_id: UUID) -> HeldRowContent | None:
        found = [each for each in self.held_rows(service) if each.event_id == event_id]
        return (
            HeldRowContent(row=found[0], headers={"ce_id": "7"}, payload=b"\0" * 300)
            if found
            else None
        )

    def decisions(self, _service: str, _event_id: UUID) -> Sequence[Decision]:
        return []


@pytest.fixture
def databases(monkeypatch: pytest.MonkeyPatch) -> Databases:
    databases = Databases()
    monkeypatch.setattr(held, "relay_settings", lambda service: service)
    for name in ("held_rows", "note_wanted", "held_row", "decisions"):
        monkeypatch.setattr(held, name, getattr(databases, name))
    return databases


def run(*words: str, fails: type[Exception] | None = None) -> Result:
    result = CliRunner().invoke(held.app, list(words))
    if fails is None:
        assert result.exception is None, result.output
    else:
        assert isinstance(result.exception, fails)
    return result


def test_the_list_names_refused_rows_and_counts_those_behind(databases: Databases) -> None:
    shown = run("list").output
    assert str(LARGE) in shown
    assert str(BEHIND) not in shown
    assert "key k1, 900,000 bytes, held for 3 min, 1 row behind it" in shown
    assert "refused once: MSG_SIZE_TOO_LARGE \\x1b[2J Broker" in shown
    assert "\x1b" not in shown
    rows: list[dict[str, Any]] = json.loads(run("list", "order", "--json").stdout)
    assert [(each["event_id"], each["why"] is None) for each in rows] == [
        (str(LARGE), False),
        (str(BEHIND), True),
    ]
    assert databases.noted == []


def test_what_is_shown_of_a_row_is_bounded(databases: Databases) -> None:
    shown = run("show", str(LARGE)).output
    assert "payload, 300 bytes:" in shown
    assert shown.rstrip().endswith("…")
    answer = json.loads(run("show", str(LARGE), "--json").stdout)
    assert len(answer["held"]["payload"]) == 400, "all of it, as base64"
    run("show", str(UUID(int=9)), fails=OrderflowError)
    assert databases.noted == []


def test_rows_are_sent_again_one_by_one_by_key_or_all(databases: Databases) -> None:
    run("resend", str(LARGE), "--reason", "mended")
    run("resend", "--key", "k2", "--reason", "mended")
    run("resend", "--all", "--reason", "mended")
    run("resend", "--all", "--service", "order", "--reason", "mended", "--dry-run")
    assert databases.noted == [
        ("order", [LARGE], "resend", "mended"),
        ("inventory", [OTHER], "resend", "mended"),
        ("inventory", [OTHER], "resend", "mended"),
        ("order", [LARGE], "resend", "mended"),
    ]


def test_a_row_is_discarded_alone_and_for_a_reason(databases: Databases) -> None:
    shown = run("discard", str(LARGE), "--reason", "ticket 4711").output
    assert f"OrderCreated {LARGE} on orders will be passed over, 1 row behind it" in shown
    assert databases.noted == [("order", [LARGE], "discard", "ticket 4711")]


@pytest.mark.parametrize(
    ("words", "error", "says"),
    [
        (["resend", "--reason", "x"], ConfigurationError, "say which rows"),
        (["resend", "--all", "--key", "k", "--reason", "x"], ConfigurationError, "say which"),
        (["resend", "--all"], ConfigurationError, "say why"),
        (["discard", str(LARGE), "--reason", " "], ConfigurationError, "say why"),
        (["discard", "seven", "--reason", "x"], ConfigurationError, "is no event id"),
        (["discard", str(BEHIND), "--reason", "x"], OrderflowError, f"waits behind {LARGE}"),
        (["resend", str(UUID(int=9)), "--reason", "x"], OrderflowError, "held list"),
    ],
)
def test_what_can_not_be_done_is_refused_before_anything_is_noted(
    databases: Databases, words: list[str], error: type[Exception], says: str
) -> None:
    result = run(*words, fails=error)
    assert says in str(result.exception)
    assert databases.noted == []


def test_a_row_that_is_being_sent_just_now_is_not_decided_about(databases: Databases) -> None:
    databases.being_sent = {LARGE}
    result = run("discard", str(LARGE), "--reason", "x", fails=OrderflowError)
    assert f"no decision was noted about {LARGE}" in str(result.exception)
