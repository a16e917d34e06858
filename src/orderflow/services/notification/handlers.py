"""The use cases: store the notifications that events cause, and record the outcomes of sending."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from orderflow.contracts import NAMESPACE
from orderflow.contracts.ids import notification_id
from orderflow.contracts.topics import NOTIFICATIONS
from orderflow.messaging.event import derived_id, rfc3339_ms
from orderflow.messaging.failpoints import failpoint
from orderflow.messaging.listener import Caused, Received
from orderflow.messaging.postgres import Cursor, after_commit, outbox
from orderflow.messaging.postgres.outbox import RowTexts
from orderflow.services.notification import repository
from orderflow.services.notification.doorbell import NOTED
from orderflow.services.notification.model import NumberedLetter, SendResult, number, wording
from orderflow.services.notification.repository import NewNotification, Settlement
from orderflow.services.notification.story import place_of
from orderflow.services.notification.traces import traceparent_of

SOURCE = "/orderflow/notification"

Encode = Callable[[str, msgspec.Struct], bytes]


def add_notifications(cursor: Cursor, batch: Sequence[Received]) -> list[Caused]:
    """
    Store one notification for each record that causes one; PENDING, unless a fact before it is not
    known yet, or a later one has been told.

    Returns no events: the sender publishes them once the outcome is known.
    """
    notifications = [
        notification for received in batch if (notification := _notification(received)) is not None
    ]
    repository.add(cursor, notifications)
    after_commit(NOTED.ring)
    return []


def settle(
    cursor: Cursor,
    results: Sequence[SendResult],
    *,
    worker: str,
    back_off_s_max: float,
    encode: Encode,
) -> list[NumberedLetter]:
    """
    Record outcomes, sequence numbers and events in one transaction, and release the customers.

    A notification that another sender has settled keeps its outcome and its number.
    """
    # The customers' rows are locked first: until the commit no other sender can take a number or
    # settle a notification of theirs, so what is read with the lock stays true.
    standings = repository.lock(cursor, {result.customer_id for result in results})
    numbered, after = number(results, standings)

    settlement = Settlement(results=results, numbered=numbered, before=standings, after=after)
    repository.settle(cursor, settlement, worker=worker, back_off_s_max=back_off_s_max)
    outbox.append_texts(cursor, [_outbox_row(letter, encode) for letter in numbered])
    # A death here: outcome, number and event are undone together, and the mail is sent again.
    failpoint("notification.before_commit")
    return numbered


def _notification(received: Received) -> NewNotification | None:
    event, metadata = received.event, received.metadata
    words = wording(event)
    if words is None:
        return None

    rank, follows = place_of(event, words.kind)
    return NewNotification(
        notification_id=notification_id(metadata.id, words.kind),
        customer_id=event.customer_id,
        order_id=event.order_id,
        kind=words.kind,
        subject=words.subject,
        text=words.text,
        cause_id=metadata.id,
        cause_type=metadata.type,
        correlation_id=metadata.correlation_id or event.subject,
        traceparent=metadata.traceparent,
        tracestate=metadata.tracestate,
        rank=rank,
        follows=follows,
    )


def _outbox_row(numbered: NumberedLetter, encode: Encode) -> RowTexts:
    """The event of the outcome. Its cause is the event that caused the notification."""
    letter, event = numbered.letter, numbered.event
    type_name = event.type_name()

    return RowTexts(
        id=str(derived_id(NAMESPACE, cause=letter.cause_id, event_type=type_name, index=0)),
        topic=NOTIFICATIONS.name,
        key=event.key,
        type=type_name,
        payload=encode(NOTIFICATIONS.name, event),
        source=SOURCE,
        time=rfc3339_ms(event.happened_at),
        subject=event.subject,
        causation_id=str(letter.cause_id),
        correlation_id=letter.correlation_id or event.subject,
        traceparent=traceparent_of(letter),
        tracestate=letter.tracestate,
    )
