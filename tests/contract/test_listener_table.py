"""What `orderflow listeners` says is what the listeners do."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import msgspec
import pytest

from orderflow.cli.listeners import listeners as command
from orderflow.cli.listeners import shown
from orderflow.contracts.roster import ALL_GROUPS, SINKS, TOPICS
from orderflow.messaging.documents.listener_table import ListenerRow
from orderflow.messaging.errors import ConfigurationError, RecordFault
from orderflow.messaging.listener import DeadLetter, Listener, Wait
from orderflow.services.asyncapi import listeners

SERVICES = Path(__file__).parents[2] / "src" / "orderflow" / "services"
LISTENERS = {listener.group: listener for listener in listeners()}


class AnyFault(RecordFault):
    """A handler's own judgement."""


@pytest.fixture(scope="module")
def rows() -> dict[str, ListenerRow]:
    with pytest.MonkeyPatch.context() as patch:
        written: list[object] = []
        patch.setattr("orderflow.cli.listeners.write_json", written.append)
        command(group="", as_json=True)
    assert isinstance(written[0], tuple)
    return {row.group: row for row in written[0]}


def test_every_group_is_listed_with_its_topics_and_types(rows: dict[str, ListenerRow]) -> None:
    assert rows.keys() == ALL_GROUPS.keys() - {sink.group for sink in SINKS}
    names = {topic.name for topic in TOPICS}
    for group, row in rows.items():
        listener = LISTENERS[group]
        assert [topic.topic for topic in row.topics] == [topic.name for topic in ALL_GROUPS[group]]
        assert {name for topic in row.topics for name in topic.handled} == set(listener.types)
        for topic, declared in zip(row.topics, listener.topics, strict=True):
            assert {*topic.handled, *topic.skipped} == set(declared.types)
            assert not {*topic.skipped} & set(listener.types)
            assert {topic.dead_letters, topic.replays} <= names
        assert row.delivery == type(listener.delivery).__name__


@pytest.mark.parametrize("listener", LISTENERS.values(), ids=LISTENERS)
def test_attempts_and_back_offs_are_those_of_the_retry_decision(
    listener: Listener, rows: dict[str, ListenerRow]
) -> None:
    steps = [
        listener.retry.next_step(AnyFault(), attempts=attempts, lone=(1, 1), suspected=False)
        for attempts in range(rows[listener.group].attempts_max)
    ]
    assert steps == [
        *(Wait(seconds) for seconds in rows[listener.group].back_off_s),
        DeadLetter(rows[listener.group].attempts_max),
    ]


@pytest.mark.parametrize("listener", LISTENERS.values(), ids=LISTENERS)
def test_what_is_never_retried_is_a_dead_letter_at_once(
    listener: Listener, rows: dict[str, ListenerRow]
) -> None:
    for name in rows[listener.group].never_retried:
        module, _, kind = name.rpartition(".")
        error = getattr(import_module(module), kind)("")
        assert listener.retry.next_step(
            error, attempts=0, lone=(1, 1), suspected=False
        ) == DeadLetter(1)


def test_no_service_has_such_an_error_that_is_not_listed(rows: dict[str, ListenerRow]) -> None:
    written = {
        name
        for file in SERVICES.rglob("*.py")
        for name in re.findall(r"^class (\w+)\(.*\bPoison\b.*\):", file.read_text(), re.MULTILINE)
    }
    listed = {name.rpartition(".")[2] for row in rows.values() for name in row.never_retried}
    assert written
    assert written == listed - {"Poison"}


def test_all_of_it_fits_80_columns_and_nothing_is_left_out(rows: dict[str, ListenerRow]) -> None:
    for row in rows.values():
        text = shown(row).plain
        assert max(map(len, text.splitlines())) <= 80
        words = " ".join(text.split())
        names = [*(topic.topic for topic in row.topics), *row.publishes]
        names += [name.rpartition(".")[2] for topic in row.topics for name in topic.handled]
        for name in (*names, row.group, row.delivery):
            assert name in words


def test_an_unknown_group_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigurationError, match="payment-service"):
        command(group="payments", as_json=False)


def test_a_row_is_read_as_it_was_written(rows: dict[str, ListenerRow]) -> None:
    raw = msgspec.json.encode(tuple(rows.values()))
    assert msgspec.json.decode(raw, type=tuple[ListenerRow, ...]) == tuple(rows.values())
