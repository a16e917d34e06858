"""How a wave's records meet the handler: the two deliveries, as one call each."""

from __future__ import annotations

from collections.abc import Sequence

from orderflow.messaging.container.database import EffectDatabase
from orderflow.messaging.container.partition import Item
from orderflow.messaging.container.publishing import Publisher
from orderflow.messaging.failpoints import failpoint
from orderflow.messaging.kafka.transactions import Produced
from orderflow.messaging.listener import ExactlyOnce, InboxOutbox, Prepared
from orderflow.messaging.telemetry import counter

REPEATS = counter(
    "inbox_repeats", "Events that the inbox knew already; they had no effect.", ("listener",)
)


def exactly_once(
    delivery: ExactlyOnce, publisher: Publisher, wave: Sequence[Item]
) -> list[Produced]:
    """What the wave causes; nothing is published yet."""
    if delivery.prepare is None:
        return publisher.records(delivery.handler([item.received for item in wave]))
    return publisher.records(
        delivery.handler([Prepared(item.received, item.outcome) for item in wave])
    )


def inbox_outbox(
    delivery: InboxOutbox,
    publisher: Publisher,
    wave: Sequence[Item],
    *,
    listener: str,
    database: EffectDatabase,
) -> tuple[list[Item], list[Item]]:
    """
    Inbox, effect and outbox of the wave, in one database transaction; committed when this returns.

    The records that the handler got, and those that the inbox knew, or that came twice in the wave.
    """
    by_id = {item.received.metadata.id: item for item in wave}
    with database.transaction() as cursor:
        unknown = database.claim(cursor, listener, list(by_id))
        # In the wave's order, whatever order the database answered in.
        fresh = [item for event_id, item in by_id.items() if event_id in unknown]
        if fresh:
            database.append(
                cursor, publisher.rows(delivery.handler(cursor, [item.received for item in fresh]))
            )
        failpoint("listener.before_database_commit")
    failpoint("listener.after_database_commit")
    if len(fresh) == len(wave):
        return fresh, []
    REPEATS.labels(listener).inc(len(wave) - len(fresh))
    handled = set(fresh)
    return fresh, [item for item in wave if item not in handled]
