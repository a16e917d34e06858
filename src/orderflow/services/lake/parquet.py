"""Rows to Parquet and back. The one door to `pyarrow`, which only this service's process loads."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from orderflow.services.lake.columns import OF_EVENT, OF_RECORD, Kind
from orderflow.services.lake.model import TOPIC, Row

COMPRESSION = "zstd"

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


class NotOurs(ValueError):
    """The bytes are no Parquet file with the lake's columns."""


class AnotherEvent(ValueError):
    """There is a row of that partition and offset, but of another event."""


def merged(existing: bytes | None, rows: Sequence[Row]) -> tuple[bytes, int] | None:
    """
    The object with `rows` in it, by offset, and how many were added; None if all of them are in it.

    Raises NotOurs for bytes that can't be read, and AnotherEvent if they have another event where
    one of the rows belongs: a topic that was made anew has the offsets of the old one.
    """
    table = None if existing is None else _read(existing)
    if table is not None:
        present = dict(zip(table["offset"].to_pylist(), table["event_id"].to_pylist(), strict=True))
        for row in rows:
            if present.get(row.offset, row.event_id) != row.event_id:
                raise AnotherEvent(f"{TOPIC}-{row.partition}@{row.offset}")
        rows = [row for row in rows if row.offset not in present]
        if not rows:
            return None

    added = pa.Table.from_pylist([_as_dict(row) for row in rows], schema=SCHEMA)
    # By name: an older object has fewer columns, and one of a newer exporter has more, which stay.
    both = added if table is None else pa.concat_tables([added, table], promote_options="default")
    return _written(both.sort_by("offset")), len(rows)


def columns(body: bytes, names: Sequence[str]) -> Any:
    """A table of these columns alone; what an older object lacks is null. Raises NotOurs."""
    table = _read(body, names)
    missing = [name for name in names if name not in table.column_names]
    for name in missing:
        table = table.append_column(name, pa.nulls(len(table), SCHEMA.field(name).type))
    return table.select(names)


def together(tables: Iterable[Any]) -> Any:
    """Tables of the same columns as one."""
    return pa.concat_tables(tables)


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


def _read(body: bytes, names: Sequence[str] | None = None) -> Any:
    try:
        file = pq.ParquetFile(pa.BufferReader(body))
        known = file.schema_arrow.names
        wanted = None if names is None else [name for name in names if name in known]
        table = file.read(columns=wanted, use_threads=False)
    except (pa.ArrowException, OSError) as error:
        raise NotOurs(type(error).__name__) from error
    if not {"event_id", "offset"} <= set(known):
        raise NotOurs("columns are missing")
    return table


def _written(table: Any) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression=COMPRESSION, use_dictionary=NAMES)
    return bytes(sink.getvalue())
