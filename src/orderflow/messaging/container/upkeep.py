"""
What a listener with `InboxOutbox` needs around it: a relay that will see its outbox, and an inbox that does not grow.

Guarantee: no record is handled before the outbox's relay has committed its first position, because a row from before
might never be told. While the database or the relay is away it waits, and says so. A follower, which publishes nothing,
has neither outbox nor relay, and waits for none.
"""

from __future__ import annotations

import threading

from orderflow.messaging.container.container import Container
from orderflow.messaging.errors import Transient
from orderflow.messaging.postgres import DatabaseError, Session, inbox, outbox
from orderflow.messaging.settings import DatabaseSettings
from orderflow.messaging.telemetry import logger

TRY_EVERY_S = 0.2
PURGE_EVERY_S = 600.0

log = logger("listener")


class Maintained:
    """A container, run in those surroundings. `service` is the relay's name; `publishes`: there is one to wait for."""

    def __init__(
        self, container: Container, *, service: str, database: DatabaseSettings, publishes: bool
    ) -> None:
        self._container = container
        self._service = service
        self._database = database
        self._publishes = publishes
        self._missing = "starting"

    def run(self, stop: threading.Event) -> None:
        """Listen until `stop` is set, once the relay, if any, has a position. Raises what the container raises."""
        session = Session(self._database, application_name=f"{self._service}-listener-upkeep")
        try:
            self._wait(session, stop)
        finally:
            session.close()
        if stop.is_set():
            return
        purging = threading.Thread(
            target=self._purge, args=(stop,), name="purge-inbox", daemon=True
        )
        purging.start()
        self._container.run(stop)

    def reasons(self) -> list[str]:
        return [self._missing] if self._missing else self._container.reasons()

    def _wait(self, session: Session, stop: threading.Event) -> None:
        while not stop.is_set():
            try:
                with session.transaction() as cursor:
                    if not self._publishes or outbox.first_position_committed(
                        cursor, self._service
                    ):
                        self._missing = ""
                        return
                self._missing = f"relay: its first position is not committed yet; is {self._service}'s relay running?"
            except (Transient, DatabaseError) as error:
                self._missing = f"database: {error}"
            stop.wait(TRY_EVERY_S)

    def _purge(self, stop: threading.Event) -> None:
        session = Session(self._database, application_name=f"{self._service}-listener-upkeep")
        while not stop.wait(PURGE_EVERY_S):
            try:
                purged = inbox.PURGE_ROWS_MAX
                while purged == inbox.PURGE_ROWS_MAX and not stop.is_set():
                    with session.transaction() as cursor:
                        purged = inbox.purge(cursor)
            except (Transient, DatabaseError) as error:
                log.warning("old inbox rows stay for now", service=self._service, reason=str(error))
        session.close()
