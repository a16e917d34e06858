"""The JSON bodies of the lake's API."""

from __future__ import annotations

import msgspec


class TotalView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Events of one currency and kind: CAPTURED, REFUNDED or FAILED. Amounts in minor units."""

    currency: str
    status: str
    count: int
    amount_minor: int


class SumsView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """
    What the lake's objects have. `rows`: records; `events`: without those that are there again with
    the same id, which the totals count once. `payments`: different ones. `lastOffsets`: of each
    partition's last row.
    """

    objects: int
    rows: int
    events: int
    payments: int
    totals: tuple[TotalView, ...]
    last_offsets: dict[str, int]


class RowView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """
    A record as the lake has it. `type`: PaymentSucceeded, PaymentFailed or PaymentRefunded;
    `amountMinor` in minor units.
    """

    offset: int
    event_id: str
    type: str
    order_id: str
    payment_id: str
    refund_id: str | None
    amount_minor: int
    currency: str


class RowsView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """All rows of some offsets, by offset; a record that is there twice has two."""

    rows: tuple[RowView, ...]
