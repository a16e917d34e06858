"""Rows to Parquet and back. The one door to `pyarrow`, which only this service's process loads."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from orderflow.messaging.errors import Unavailable
from orderflow.services.lake.columns import OF_EVENT, OF_RECORD, Kind
from orderflow.services.lake.model import TOPIC, Row
from orderflow.services.lake.store import away

COMPRESSION = "zstd"

# The library's own pool keeps what it once took: a fifth of the process, for nothing.
pa.set_memory_pool(pa.system_memory_pool())

_KINDS: dict[Kind, Any] = {
    "text": pa.string(),
    "name": pa.string(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "time": pa.timestamp("ms", tz="UTC"),
    "lines": pa.list_(
        pa.struct(
            [("sku", pa.string()), ("quantity", pa.int32()), ("unit_price_minor", pa.int64())]
        )
    ),
}
SCHEMA = pa.schema([(name, _KINDS[kind]) for name, kind in (OF_RECORD | OF_EVENT).items()])
NAMES = [name for name, kind in (OF_RECORD | OF_EVENT).items() if kind == "name"]


def merged(name: str, existing: bytes | None, rows: Sequence[Row]) -> tuple[bytes, int] | None:
    """
    The object with `rows` in it, by offset, and how many were added; None if all of them are in it.

    Raises Unavailable for an object that can't be read, or has another event where one of the rows
    belongs: a topic that was made anew has the offsets of the old one.
    """
    table = None if existing is None else _read(name, existing)
    if table is not None:
        present = dict(zip(table["offset"].to_pylist(), table["event_id"].to_pylist(), strict=True))
        for row in rows:
            if present.get(row.offset, row.event_id) != row.event_id:
                why = f"{name} has another event at {TOPIC}-{row.partition}@{row.offset}"
                raise away("it has other events at these offsets", why)
        rows = [row for row in rows if row.offset not in present]
        if not rows:
            return None

    rows = sorted(rows, key=lambda row: row.offset)
    added = pa.Table.from_pylist([_as_dict(row) for row in rows], schema=SCHEMA)
    # By name: an older object has fewer columns, and one of a newer exporter has more, which stay.
    both = added if table is None else pa.concat_tables([table, added], promote_options="default")
    # Nearly always they come in their order; sorting loads another room of the library.
    offsets = both["offset"].to_pylist()
    in_order = all(left < right for left, right in pairwise(offsets))
    return _written(both if in_order else both.sort_by("offset")), len(rows)


def columns(name: str, body: bytes, wanted: Sequence[str]) -> Any:
    """
    A table of these columns alone; what an older object lacks is null.

    Raises Unavailable for an object that can't be read.
    """
    table = _read(name, body, wanted)
    for column in wanted:
        if column not in table.column_names:
            nulls = pa.nulls(len(table), SCHEMA.field(column).type)
            table = table.append_column(column, nulls)
    return table.select(wanted)


def _as_dict(row: Row) -> dict[str, Any]:
    event = row.event
    lines = getattr(event, "lines", None)
    return {
        **{name: getattr(event, name, None) for name in OF_EVENT},
        "lines": None if lines is None else [_line(line) for line in lines],
        "event_id": row.event_id,
        "event_type": type(event).__name__,
        "topic": TOPIC,
        "partition": row.partition,
        "offset": row.offset,
    }


def _line(line: Any) -> dict[str, Any]:
    return {
        "sku": line.sku,
        "quantity": line.quantity,
        "unit_price_minor": line.unit_price_minor,
    }


def _read(name: str, body: bytes, wanted: Sequence[str] | None = None) -> Any:
    try:
        file = pq.ParquetFile(pa.BufferReader(body))
        known = file.schema_arrow.names
        present = None if wanted is None else [column for column in wanted if column in known]
        table = file.read(columns=present, use_threads=False)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(name, type(error).__name__) from error

    if not {"event_id", "offset"} <= set(known):
        raise _damaged(name, "columns are missing")
    return table


def _damaged(name: str, why: str) -> Unavailable:
    return away("an object is damaged: the log names it", f"{name} can't be read ({why})")


def _written(table: Any) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression=COMPRESSION, use_dictionary=NAMES)
    return bytes(sink.getvalue())
