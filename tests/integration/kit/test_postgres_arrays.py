"""Arrays as literals: what goes in comes out, whatever it holds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.databases import database_settings
from tests.support.stack import Stack

from orderflow.contracts.events import OrderStatus
from orderflow.messaging.postgres import Connection, array, connect

# PostgreSQL's text holds every character but NUL.
TEXTS = st.lists(
    st.none() | st.text(st.characters(codec="utf-8", exclude_characters="\x00")), max_size=6
)
HARD_TEXTS = [
    "",
    " ",
    "NULL",
    "null",
    "{}",
    "a,b",
    '"',
    "\\",
    "\\x00",
    "\n\r\t\b\f\x01\x7f",
    "\\n",
    "ä€😀",
    None,
]


@pytest.fixture(scope="module")
def connection(stack: Stack) -> Iterator[Connection]:
    with connect(
        database_settings(stack.postgres_url("postgres")), application_name="test"
    ) as opened:
        yield opened


def returned(connection: Connection, values: Sequence[object], sql_type: str) -> list[object]:
    query = f"SELECT value FROM unnest(%s::{sql_type}[]) AS value"
    return [value for (value,) in connection.execute(query.encode(), (array(values),))]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(TEXTS)
def test_any_text_comes_back_as_it_was(connection: Connection, texts: list[str | None]) -> None:
    assert returned(connection, texts, "text") == texts


@pytest.mark.parametrize("text", HARD_TEXTS)
def test_text_that_looks_like_syntax_is_text(connection: Connection, text: str | None) -> None:
    assert returned(connection, [text], "text") == [text]
    assert returned(connection, ["before", text, "after"], "text") == ["before", text, "after"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.none() | st.binary(), max_size=6))
def test_any_bytes_come_back_as_they_were(
    connection: Connection, values: list[bytes | None]
) -> None:
    assert returned(connection, values, "bytea") == values


def test_numbers_ids_moments_and_enums_come_back_as_their_type(connection: Connection) -> None:
    identity, moment = uuid4(), datetime(2026, 1, 31, 9, 5, 0, 123_000, tzinfo=UTC)
    assert returned(connection, [1, -(2**63), None], "bigint") == [1, -(2**63), None]
    assert returned(connection, [identity, str(identity)], "uuid") == [identity, identity]
    assert returned(connection, [moment], "timestamptz") == [moment]
    assert returned(connection, [OrderStatus.CREATED], "text") == ["CREATED"]
    assert returned(connection, [], "text") == []
