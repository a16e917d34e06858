"""What must be there before an order is taken: checked again and again until it is."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import msgspec

from orderflow.messaging.errors import Transient
from orderflow.messaging.http.problems import unavailable
from orderflow.messaging.http.snapshot import Snapshot
from orderflow.messaging.postgres import (
    RESOURCE,
    ConnectionPool,
    Cursor,
)
from orderflow.messaging.process.database_check import DatabaseCheck
from orderflow.messaging.process.prerequisites import TRY_EVERY_S, Prerequisites
from orderflow.messaging.telemetry import logger
from orderflow.services.order.changes import Encode

log = logger("order.api")


class Ready(msgspec.Struct, frozen=True, kw_only=True):
    """What the API needs before it can take an order or a command."""

    encode: Encode


class StartGate:
    """Refuses what would write until `open` was called: 503, the same from every route."""

    def __init__(self) -> None:
        self._ready: Ready | None = None

    def open(self, ready: Ready) -> None:
        self._ready = ready

    def demand(self) -> Ready:
        """What a request needs to write. Raises a problem (503) while the service is starting."""
        if self._ready is None:
            raise unavailable("the service is starting: see /readyz")
        return self._ready


class Readiness:
    """A thread that opens the gate once nothing is missing, and then ends."""

    def __init__(
        self, *, check: DatabaseCheck, prerequisites: Prerequisites, gate: StartGate
    ) -> None:
        self._check = check
        self._database = Snapshot(check.reasons, name="database")
        self._prerequisites = prerequisites
        self._gate = gate
        self._missing = ["starting"]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="readiness", daemon=True)

    def start(self) -> None:
        self._thread.start()
        self._database.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join(1)
        self._prerequisites.close()
        self._database.close()
        self._check.close()

    def reasons(self) -> list[str]:
        """Why the API is not ready: what is missing at start, and later a database that is away."""
        return self._missing or self._database()

    def _run(self) -> None:
        while not self._stop.is_set():
            self._missing = self._prerequisites.missing() or self._open()
            if not self._missing:
                return
            self._stop.wait(TRY_EVERY_S)

    def _open(self) -> list[str]:
        """Open the gate; what is missing then: nothing."""
        # The gate before `_missing`: a process that says it is ready takes orders.
        self._gate.open(Ready(encode=self._prerequisites.encode))
        log.info("ready to take orders")
        return []


def migrated(pool: ConnectionPool) -> Callable[[], AbstractContextManager[Cursor]]:
    """Opens transactions on a migrated database. They raise Transient until it is migrated."""

    @contextmanager
    def transaction() -> Iterator[Cursor]:
        with pool.connection(timeout=1) as connection, connection.cursor() as cursor:
            cursor.execute(_IS_MIGRATED)
            if cursor.fetchone() != (True,):
                why = "not migrated; run `python -m orderflow.services.order --roles migrate`"
                raise Transient(why, resource=RESOURCE, reason=why)
            yield cursor

    return transaction


_IS_MIGRATED = """
SELECT to_regclass('orders') IS NOT NULL AND to_regclass('product_history') IS NOT NULL
"""
