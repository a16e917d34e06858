"""
A connection on which no wait is without end.

`statement_timeout` is the server's, and a server that hangs does not keep it; the kernel's
keepalives are answered by whatever stands between, a proxy or a load balancer. So the driver's own
wait has a limit, which counts from the beginning of a statement to its last byte: a server that
sends a byte now and then is silent, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg.abc import RV, PQGen
from psycopg.errors import _WaitTimeout  # The driver documents it with `Connection.wait`.
from psycopg.rows import TupleRow

ANSWER_WITHIN_S = 15.0
"""Longer than `statement_timeout`: a server that lives answers before, if only that it was slow."""
CHECK_WITHIN_S = 1.0
INTERRUPTIBLE_S = 0.1


class BoundedConnection(psycopg.Connection[TupleRow]):
    """
    A connection that is closed when a wait for the server takes longer than `answer_within_s`.

    Raises the driver's OperationalError then: whether the server did the work is unknown.
    """

    answer_within_s = ANSWER_WITHIN_S

    def wait(
        self, gen: PQGen[RV], interval: float = INTERRUPTIBLE_S, timeout: float | None = None
    ) -> RV:
        if timeout is not None:
            return super().wait(gen, interval, timeout)
        try:
            return super().wait(gen, interval, self.answer_within_s)
        except _WaitTimeout as error:
            # Closed, because the answer may still come, and the next statement would read it.
            self.pgconn.finish()
            raise psycopg.OperationalError(
                f"no answer within {self.answer_within_s:g} s; the connection is closed"
            ) from error

    @contextmanager
    def answering_within(self, seconds: float) -> Iterator[None]:
        """Another limit, for what the block asks."""
        before, self.answer_within_s = self.answer_within_s, seconds
        try:
            yield
        finally:
            self.answer_within_s = before
