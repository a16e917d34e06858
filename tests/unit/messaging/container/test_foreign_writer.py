"""An event's identity is its source and its id: another writer's id hides none of ours."""

from __future__ import annotations

import pytest
from tests.support.memory_listener import ASKED, MemoryListener

from orderflow.messaging.event import CE_SOURCE, DLT_EXCEPTION_MESSAGE
from orderflow.messaging.testing.memory_database import MemoryDatabase

WRITER = "/bus"


@pytest.mark.parametrize("source", [b"/elsewhere", b""])
@pytest.mark.parametrize("first", ["ours", "theirs"])
def test_an_event_with_an_id_of_ours_from_another_writer_is_a_dead_letter_and_ours_has_its_effect(
    source: bytes, first: str
) -> None:
    listener = MemoryListener(database=MemoryDatabase(), writer=WRITER)
    other = MemoryListener()
    other.ask("a", 0)
    (record,) = other.bus.records(ASKED.name)
    theirs = [(name, value) for name, value in record.headers() if name != CE_SOURCE]
    theirs.append((CE_SOURCE, source))
    ours, foreign = (
        (ASKED.name, record.key(), record.value(), headers)
        for headers in (record.headers(), theirs)
    )
    listener.broker.append([ours, foreign] if first == "ours" else [foreign, ours])
    listener.run()
    assert listener.told == {"a": [0]}
    (dead,) = listener.dead
    assert b"does not write topic probe: /bus does" in (
        dict(dead.headers())[DLT_EXCEPTION_MESSAGE] or b""
    )
