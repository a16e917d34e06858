"""
A cursor whose statements are sent without waiting for their answers.

What waits is a fetch, `rowcount`, and the end of the transaction. So statements of which nothing
is read cost no round trip, and an error of one is raised by whatever waits next.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NoReturn, Self

import psycopg
from psycopg.abc import Params
from psycopg.rows import TupleRow


class PipelinedCursor(psycopg.Cursor[TupleRow]):
    """
    To be used in `pipeline`, a block of its connection's pipeline mode. Its `rowcount` waits for
    the answers.

    Each statement has a cursor of the driver's own: on a shared one the late answer to an earlier
    statement would be taken for that to the last one.
    """

    def __init__(
        self, connection: psycopg.Connection[TupleRow], pipeline: psycopg.Pipeline
    ) -> None:
        super().__init__(connection)
        self._pipeline = pipeline
        self._last: psycopg.Cursor[TupleRow] = psycopg.Cursor(connection)

    def execute(
        self,
        query: Any,
        params: Params | None = None,
        *,
        prepare: bool | None = None,
        binary: bool | None = None,
    ) -> Self:
        self._last = psycopg.Cursor(self.connection)
        self._last.execute(query, params, prepare=prepare, binary=binary)
        return self

    def fetchone(self) -> TupleRow | None:
        return self._last.fetchone()

    def fetchmany(self, size: int = 0) -> list[TupleRow]:
        return self._last.fetchmany(size)

    def fetchall(self) -> list[TupleRow]:
        return self._last.fetchall()

    def __iter__(self) -> Iterator[TupleRow]:  # type: ignore[override]
        return iter(self._last.fetchall())

    @property
    def rowcount(self) -> int:
        if self._last.pgresult is None:
            self._pipeline.sync()
        return self._last.rowcount

    @property
    def statusmessage(self) -> str | None:
        return self._last.statusmessage

    def executemany(self, *_arguments: Any, **_named: Any) -> NoReturn:
        """Not in here: a batch is one statement, see `arrays`."""
        raise psycopg.NotSupportedError("executemany: a batch is one statement")
