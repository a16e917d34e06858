"""
The judge of the copies: what is outside of the services, against what payment announced.

Pure. An account has no differences if and only if the copy has what the events say, and nothing
else; while a group has not finished an event it has those that the group will mend.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from shlex import quote
from typing import Protocol

import msgspec

from orderflow.books.accounts import (
    CopyLetters,
    LakeAccount,
    LakeRow,
    TopicEvent,
    WarehouseAccount,
    WarehouseRow,
)
from orderflow.books.report import Check, Difference, Subject
from orderflow.contracts.events import PaymentFailed, PaymentRefunded, PaymentSucceeded
from orderflow.contracts.ids import OrderId, payment_id

FAILED, SUCCEEDED, REFUNDED = "FAILED", "SUCCEEDED", "REFUNDED"


class _HasLetters(Protocol):
    @property
    def letters(self) -> CopyLetters: ...


class CopyDifference(msgspec.Struct, frozen=True, kw_only=True):
    """A difference, and the ids of the events that it is about."""

    difference: Difference
    event_ids: tuple[str, ...] = ()


class _Figures(msgspec.Struct, frozen=True, kw_only=True):
    """A payment as events add up to it, or as a row says it."""

    customer_id: str
    status: str
    currency: str
    captured_minor: int
    refunded_minor: int

    def __str__(self) -> str:
        return (
            f"{self.status}, {self.captured_minor} − {self.refunded_minor} {self.currency} "
            f"of {self.customer_id}"
        )


def judge_warehouse(account: WarehouseAccount) -> list[CopyDifference]:
    """Every difference between the events of an order's payments and the warehouse's rows."""
    by_payment: dict[str, list[TopicEvent]] = {}
    for event in account.events:
        by_payment.setdefault(_payment_of(account.order_id, event), []).append(event)
    rows = {row.payment_id: row for row in account.rows}

    return [
        CopyDifference(
            difference=_difference(Check.WAREHOUSE, name, account.order_id, words),
            event_ids=tuple(event.event_id for event in by_payment.get(name, ())),
        )
        for name in sorted(by_payment.keys() | rows.keys())
        for words in _warehoused(account, by_payment.get(name, []), rows.get(name))
    ]


def _warehoused(
    account: WarehouseAccount, events: Sequence[TopicEvent], row: WarehouseRow | None
) -> Iterator[tuple[str, str]]:
    if not events:
        if row is not None and account.is_complete:
            yield "payments: no event of this payment", f"warehouse: {_of_row(row)}"
        return
    last = events[-1]
    named = f"payments: {_figures(events)}, the last at {_place(last)}"
    if row is None:
        # What never came to the group, or will not any more, is not missed.
        if any(_is_due(account, event) for event in events):
            yield named, "warehouse: no row"
        return

    kept = [event for event in events if event.event_id not in account.letters.discarded]
    allowed = {_figures(some) for some in (events, kept) if some}
    if _of_row(row) not in allowed:
        yield named, f"warehouse: {_of_row(row)}"


def _is_due(account: WarehouseAccount, event: TopicEvent) -> bool:
    since = account.since.get(event.partition, 0)
    return event.offset >= since and event.event_id not in account.letters.discarded


def judge_lake(account: LakeAccount) -> list[CopyDifference]:
    """Every difference between events and the lake's rows, offset by offset."""
    events = {event.offset: (order_id, event) for order_id, event in account.events}
    rows: dict[int, list[LakeRow]] = {}
    for row in account.rows:
        rows.setdefault(row.offset, []).append(row)

    return [
        difference
        for offset in sorted(events.keys() | rows.keys())
        for difference in _in_lake(account, offset, events.get(offset), rows.get(offset, []))
    ]


def _in_lake(
    account: LakeAccount,
    offset: int,
    known: tuple[str, TopicEvent] | None,
    rows: Sequence[LakeRow],
) -> Iterator[CopyDifference]:
    place = f"payments-{account.partition}@{offset}"
    if known is None:
        strange = [row for row in rows if row.event_id not in account.repeated]
        if strange and account.is_complete:
            words = f"payments: no event at {place}", f"lake: {_rows(strange)}"
            row = strange[0]
            yield CopyDifference(
                difference=_difference(Check.LAKE, row.payment_id, row.order_id, words)
            )
        return

    order_id, event = known
    if not rows and not _is_missed(account, event):
        return
    if len(rows) != 1 or _said_by_row(rows[0]) != _said_by_event(order_id, event):
        words = (
            f"payments: {event.type}, {event.amount_minor} {event.currency} at {place}",
            f"lake: {_rows(rows)}",
        )
        yield CopyDifference(
            difference=_difference(Check.LAKE, _payment_of(order_id, event), order_id, words),
            event_ids=(event.event_id,),
        )


def _is_missed(account: LakeAccount, event: TopicEvent) -> bool:
    was_before = account.since is not None and event.offset < account.since
    return not was_before and event.event_id not in account.letters.discarded


def copy_explanation(account: _HasLetters, difference: CopyDifference) -> str:
    """Which open dead letter of the copy's group is why, and what shows it; "" if none is."""
    for event_id in difference.event_ids:
        if name := account.letters.open.get(event_id):
            return f"open dead letter: `orderflow dlt show {name}`"
    return ""


def unexplained_copies(
    account: _HasLetters, differences: Iterable[CopyDifference]
) -> list[Difference]:
    """Those that no open dead letter explains."""
    return [each.difference for each in differences if not copy_explanation(account, each)]


def _figures(events: Sequence[TopicEvent]) -> _Figures:
    """What the events of one payment add up to."""
    by_type: Mapping[str, TopicEvent] = {event.type: event for event in events}
    succeeded = by_type.get(PaymentSucceeded.__name__)
    failed, refunded = by_type.get(PaymentFailed.__name__), by_type.get(PaymentRefunded.__name__)
    # Of a payment that was refunded before the books began the refund says all: it is of the whole.
    captured = succeeded or refunded
    status = REFUNDED if refunded else FAILED if failed else SUCCEEDED

    return _Figures(
        customer_id=events[-1].customer_id,
        status=status,
        currency=events[-1].currency,
        captured_minor=captured.amount_minor if captured else 0,
        refunded_minor=refunded.amount_minor if refunded else 0,
    )


def _of_row(row: WarehouseRow) -> _Figures:
    return _Figures(
        customer_id=row.customer_id,
        status=row.status,
        currency=row.currency,
        captured_minor=row.captured_minor,
        refunded_minor=row.refunded_minor,
    )


def _payment_of(order_id: str, event: TopicEvent) -> str:
    if event.type == PaymentRefunded.__name__:
        return payment_id(OrderId(order_id), event.number)
    return event.subject_id


def _said_by_event(order_id: str, event: TopicEvent) -> tuple[object, ...]:
    return (
        *(event.event_id, event.type, order_id, event.subject_id),
        *(event.amount_minor, event.currency),
    )


def _said_by_row(row: LakeRow) -> tuple[object, ...]:
    return (
        *(row.event_id, row.type, row.order_id, row.refund_id or row.payment_id),
        *(row.amount_minor, row.currency),
    )


def _rows(rows: Sequence[LakeRow]) -> str:
    if not rows:
        return "no row"
    count = f"{len(rows)} rows: " if len(rows) > 1 else ""
    row = rows[0]
    return f"{count}{row.type}, {row.amount_minor} {row.currency}, event {row.event_id}"


def _place(event: TopicEvent) -> str:
    return f"{event.topic}-{event.partition}@{event.offset}"


def _difference(check: Check, name: str, order_id: str, words: tuple[str, str]) -> Difference:
    return Difference(
        check=check,
        subject=Subject.PAYMENT,
        id=name,
        expected=words[0],
        actual=words[1],
        command=f"orderflow trace {quote(order_id)}",
    )
