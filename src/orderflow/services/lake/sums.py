"""
What the lake has, read from its objects and not from memory: for whoever compares it with a ledger.

Only objects that have changed since the last question are read again, and of these a few columns.
An event that is on the topic twice is counted once. Between questions this keeps 16 bytes for each
payment, and a few numbers for each hour and partition.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

import msgspec

from orderflow.services.lake import parquet
from orderflow.services.lake.model import OBJECT, TOPIC, group_of
from orderflow.services.lake.store import Store, Version
from orderflow.services.lake.views import SumsView, TotalView

COLUMNS = ("event_id", "event_type", "payment_id", "currency", "amount_minor", "offset")
STATUSES = {
    "PaymentSucceeded": "CAPTURED",
    "PaymentRefunded": "REFUNDED",
    "PaymentFailed": "FAILED",
}


class _Group(msgspec.Struct):
    """The objects of one hour and partition, as they were read."""

    versions: dict[str, Version]
    rows: int = 0
    events: int = 0
    last_offset: int = -1
    totals: dict[tuple[str, str], tuple[int, int]] = {}
    payments: frozenset[bytes] = frozenset()


class Sums:
    """Call `read` from any thread; one reads at a time, and the others get what it found."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._groups: dict[str, _Group] = {}
        self._lock = threading.Lock()

    def read(self) -> SumsView:
        """Raises Unavailable when the store is away, or an object can't be read."""
        with self._lock:
            grouped: dict[str, dict[str, Version]] = defaultdict(dict)
            for name, version in self._store.versions(TOPIC).items():
                if OBJECT.fullmatch(name):
                    grouped[group_of(name)][name] = version

            self._groups = {
                name: self._group(self._groups.get(name), versions)
                for name, versions in grouped.items()
            }
            return _view(self._groups)

    def _group(self, known: _Group | None, versions: dict[str, Version]) -> _Group:
        if known is not None and known.versions == versions:
            return known

        group = _Group(versions={})
        seen: set[str] = set()
        totals: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
        payments: set[bytes] = set()
        for name in sorted(versions):
            for row in self._rows(name, group):
                event_id, event_type, payment_id, currency, amount_minor, offset = row
                group.rows += 1
                group.last_offset = max(group.last_offset, offset)
                if event_id in seen:
                    continue
                seen.add(event_id)
                total = totals[currency, STATUSES.get(event_type, event_type)]
                total[0] += 1
                total[1] += amount_minor
                payments.add(UUID(payment_id).bytes)
        group.events = len(seen)
        group.totals = {key: (count, amount) for key, (count, amount) in totals.items()}
        group.payments = frozenset(payments)
        return group

    def _rows(self, name: str, group: _Group) -> Iterable[tuple[Any, ...]]:
        """Its rows in the columns that are summed; the version that was read goes to `group`."""
        content = self._store.read(name)
        # Nobody removes objects but an operator: the next question sees that it is gone.
        if content is None:
            return ()
        group.versions[name] = content.version
        table = parquet.columns(name, content.body, COLUMNS)
        return zip(*(table[column].to_pylist() for column in COLUMNS), strict=True)


def _view(groups: Mapping[str, _Group]) -> SumsView:
    totals: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
    last: dict[int, int] = {}
    for name, group in groups.items():
        partition = int(name.rpartition("-")[2])
        last[partition] = max(last.get(partition, -1), group.last_offset)
        for key, (count, amount) in group.totals.items():
            totals[key][0] += count
            totals[key][1] += amount

    return SumsView(
        objects=sum(len(group.versions) for group in groups.values()),
        rows=sum(group.rows for group in groups.values()),
        events=sum(group.events for group in groups.values()),
        payments=len(frozenset[bytes]().union(*(group.payments for group in groups.values()))),
        totals=tuple(
            TotalView(currency=currency, status=status, count=count, amount_minor=amount)
            for (currency, status), (count, amount) in sorted(totals.items())
        ),
        last_offsets={f"{TOPIC}-{number}": offset for number, offset in sorted(last.items())},
    )
