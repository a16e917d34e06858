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
