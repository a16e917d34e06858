"""
Whether what an outbox has published is on its topics. Pure.

Rows up to the relay's noted sequence are published, but for those of a transaction that was still
open when a later number was noted: a difference counts once it is still there after the relay has
passed the end that the log had when it was seen.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from orderflow.books.report import Check, Difference, Subject
from orderflow.books.sides.services import OutboxRow
from orderflow.contracts.topics import NOTIFICATIONS


def judge_outbox(
    service: str, rows: Iterable[OutboxRow], event_ids: Collection[str]
) -> list[Difference]:
    """A difference for each published row whose event is not among `event_ids`, on its topic."""
    return [_difference(service, row) for row in rows if row.event_id not in event_ids]


def _difference(service: str, row: OutboxRow) -> Difference:
    is_of_customer = row.topic == NOTIFICATIONS.name
    type_name = row.type.rpartition(".")[2]
    return Difference(
        check=Check.OUTBOX,
        subject=Subject.CUSTOMER if is_of_customer else Subject.ORDER,
        id=row.key,
        expected=f"{service}: published {type_name} {row.event_id}, number {row.sequence}",
        actual=f"{row.topic}: no such event",
        command=(
            f"orderflow tail {row.topic} --from-beginning --key {row.key}"
            if is_of_customer
            else f"orderflow trace {row.key}"
        ),
    )
