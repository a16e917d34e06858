"""
`python -m tests.support.recommendation --roles migrate,listener`: stores the status changes of
orders.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from orderflow.contracts import NAMESPACE
from orderflow.contracts.events import OrderEvent
from orderflow.contracts.topics import ORDER_EVENTS
from orderflow.messaging.listener import Caused, InboxOutbox, Listener, Received
from orderflow.messaging.postgres import Cursor, array
from orderflow.messaging.process.follower import follow


def learn(cursor: Cursor, batch: Sequence[Received]) -> list[Caused]:
    events = [record.event for record in batch]
    columns = (
        [event.order_id for event in events],
        [event.version for event in events],
        [event.status for event in events],
    )
    cursor.execute(
        "INSERT INTO learned (order_id, version, status)"
        " SELECT * FROM unnest(%s::text[], %s::int[], %s::text[])",
        [array(column) for column in columns],
    )
    return []


LISTENER = Listener(
    name="recommendation",
    group="recommendation-service",
    source="/recommendation",
    namespace=NAMESPACE,
    topics=(ORDER_EVENTS,),
    handles=(OrderEvent,),
    delivery=InboxOutbox(handler=learn),
)

if __name__ == "__main__":
    sys.exit(follow(LISTENER, migrations=Path(__file__).parent / "migrations"))
