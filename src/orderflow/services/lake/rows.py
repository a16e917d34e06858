"""The lake's rows by their offsets, read from its objects: for whoever compares them one by one."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from orderflow.services.lake import parquet
from orderflow.services.lake.model import OBJECT, TOPIC
from orderflow.services.lake.store import Store
from orderflow.services.lake.views import RowsView, RowView

COLUMNS = (
    *("offset", "event_id", "event_type", "order_id", "payment_id", "refund_id"),
    *("amount_minor", "currency"),
)
ROWS_MAX = 10_000
"""In one answer: more are only there if many are there twice."""


class Rows:
    """Call `read` from any thread. In memory are the rows of one object, and the answer."""

    def __init__(self, store: Store, *, block_offsets: int) -> None:
        self._store = store
        self._block_offsets = block_offsets

    def read(self, partition: int, first: int, end: int) -> RowsView:
        """
        Every row with an offset from `first` to before `end`, by offset, as often as it is there.

        Raises Unavailable when the store is away, or an object can't be read.
        """
        rows = islice(self._of_objects(partition, first, end), ROWS_MAX)
        return RowsView(rows=tuple(sorted(rows, key=lambda row: row.offset)))

    def _of_objects(self, partition: int, first: int, end: int) -> Iterator[RowView]:
        for name in sorted(self._store.versions(TOPIC)):
            if self._can_have(name, partition, first, end):
                yield from self._of_object(name, first, end)

    def _can_have(self, name: str, partition: int, first: int, end: int) -> bool:
        match = OBJECT.fullmatch(name)
        if match is None or int(match["partition"]) != partition:
            return False
        return first - self._block_offsets < int(match["first"]) < end

    def _of_object(self, name: str, first: int, end: int) -> Iterator[RowView]:
        content = self._store.read(name)
        if content is None:
            return
        table = parquet.columns(name, content.body, COLUMNS)
        columns = (table[column].to_pylist() for column in COLUMNS)
        for fields in zip(*columns, strict=True):
            if first <= fields[0] < end:
                yield _view(*fields)


def _view(
    offset: int,
    event_id: str,
    event_type: str,
    order_id: str,
    payment_id: str,
    refund_id: str | None,
    amount_minor: Any,
    currency: str,
) -> RowView:
    return RowView(
        offset=offset,
        event_id=event_id,
        type=event_type,
        order_id=order_id,
        payment_id=payment_id,
        refund_id=refund_id,
        amount_minor=amount_minor,
        currency=currency,
    )
