"""What the books take for handled is what the services' listeners handle."""

from __future__ import annotations

from orderflow.books.handled import HANDLED
from orderflow.messaging.listener import InboxOutbox
from orderflow.services.asyncapi import listeners


def test_every_group_with_an_inbox_handles_what_the_books_expect() -> None:
    assert {
        listener.group: {event.__name__ for event in listener.handles}
        for listener in listeners()
        if isinstance(listener.delivery, InboxOutbox)
    } == HANDLED
