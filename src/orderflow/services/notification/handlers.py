"""The use cases: note what a customer is to be told, and settle what became of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from orderflow.contracts import NAMESPACE
from orderflow.contracts.ids import notification_id
from orderflow.contracts.topics import NOTIFICATIONS
from orderflow.messaging.event import Cause, caused_by
from orderflow.messaging.failpoints import failpoint
from orderflow.messaging.listener import Caused, Received
from orderflow.messaging.postgres import Cursor, outbox
from orderflow.messaging.postgres.outbox import OutboxRow
from orderflow.services.notification import repository
from orderflow.services.notification.model import Numbered, Round, number, wording
from orderflow.services.notification.repository import Delivery

SOURCE = "/orderflow/notification"

Encode = Callable[[str, msgspec.Struct], bytes]


def note(cursor: Cursor, batch: Sequence[Received]) -> list[Caused]:
    """One PENDING delivery for each record that its customer is told of. The rest is the sender's."""
    repository.note(
        cursor, [noted for received in batch if (noted := _delivery(received)) is not None]
    )
    return []


def settle(
    cursor: Cursor, rounds: Sequence[Round], *, worker: str, back_off_s_max: float, encode: Encode
) -> list[Numbered]:
    """Outcome, number and event of each message, and the customers given back; what is settled already stays so."""
    sequences = repository.lock_sequences(cursor, [one.customer_id for one in rounds])
    ids = [settled.letter.notification_id for one in rounds for settled in one.settled]
    numbered = number(rounds, sequences=sequences, pending=repository.pending(cursor, ids))
    repository.settle(cursor, numbered)
    repository.give_back(cursor, rounds, numbered, worker=worker, back_off_s_max=back_off_s_max)
    outbox.append(cursor, [_row(one, encode) for one in numbered])
    failpoint("notification.before_commit")
    return numbered


def _delivery(received: Received) -> Delivery | None:
    event, metadata = received.event, received.metadata
    said = wording(event)
    if said is None:
        return None
    return Delivery(
        notification_id=notification_id(metadata.id, said.kind),
        customer_id=event.customer_id,
        order_id=event.order_id,
        kind=said.kind,
        subject=said.subject,
        text=said.text,
        cause_id=metadata.id,
        cause_type=metadata.type,
        correlation_id=metadata.correlation_id or event.subject,
        traceparent=metadata.traceparent,
        tracestate=metadata.tracestate,
    )


def _row(numbered: Numbered, encode: Encode) -> OutboxRow:
    letter, event = numbered.letter, numbered.event
    cause = Cause(
        id=letter.cause_id,
        correlation_id=letter.correlation_id,
        traceparent=letter.traceparent,
        tracestate=letter.tracestate,
    )

    return OutboxRow(
        topic=NOTIFICATIONS.name,
        key=event.key,
        payload=encode(NOTIFICATIONS.name, event),
        metadata=caused_by(cause, event, namespace=NAMESPACE, source=SOURCE),
    )
