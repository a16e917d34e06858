"""
What a worker needs before it may write its first outbox row: database, relay position, schema ids.

Guarantee: nothing is missing only once the relay has committed its first position in this very
database. A row written before that might lie behind the relay's position and never be published.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import msgspec

from orderflow.messaging.errors import ConfigurationError, Transient, plain, redacted
from orderflow.messaging.postgres import Cursor, DatabaseError, outbox, transient
from orderflow.messaging.schemas.avro import Encoder
from orderflow.messaging.schemas.catalogue import SchemaCatalogue
from orderflow.messaging.schemas.registry import Registry
from orderflow.messaging.settings import RegistrySettings
from orderflow.messaging.telemetry import logger

TRY_EVERY_S = 0.2
NOT_ASKED = "starting"

log = logger("process")


class Prerequisites:
    """
    Checks what is missing, as often as `missing` is called, and loads the schema ids once.

    `transaction` opens a transaction on the worker's database. `relay` names the service whose
    relay publishes the rows; None for a worker that publishes nothing. `topics` are those that
    `encode` writes for; without any, the registry is not asked.
    """

    def __init__(
        self,
        *,
        transaction: Callable[[], AbstractContextManager[Cursor]],
        relay: str | None = None,
        registry: RegistrySettings | None = None,
        catalogue: SchemaCatalogue | None = None,
        topics: Sequence[str] = (),
    ) -> None:
        self._transaction = transaction
        self._relay = relay
        self._registry = registry
        self._catalogue = catalogue
        self._topics = topics
        self._client: Registry | None = None
        self._encoder: Encoder | None = None
        self._missing = [NOT_ASKED]

    def missing(self) -> list[str]:
        """What is missing now, in words; empty when a row may be written. Never raises for it."""
        answers = (self._database_missing(), self._schemas_missing())
        self._missing = [answer for answer in answers if answer]
        return self._missing

    def wait(self, stop: threading.Event) -> bool:
        """Wait until nothing is missing: True; or until `stop` is set: False."""
        while not stop.is_set():
            if not self.missing():
                return True
            stop.wait(TRY_EVERY_S)
        self.close()
        return False

    def close(self) -> None:
        """Close the connection to the registry, which is open only until the ids are loaded."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def reasons(self) -> list[str]:
        """What was missing when `missing` was last called; before that, that it is starting."""
        return self._missing

    def encode(self, topic: str, event: msgspec.Struct) -> bytes:
        """The record value of `event` on `topic`. Raises ConfigurationError while ids miss."""
        if self._encoder is None:
            raise ConfigurationError("the schema ids are not loaded yet")
        return self._encoder.encode(topic, event)

    def _database_missing(self) -> str:
        try:
            with self._transaction() as cursor:
                if self._relay and not outbox.first_position_committed(cursor, self._relay):
                    return (
                        "relay: its first position is not committed yet; "
                        f"is {self._relay}'s relay running?"
                    )
        except (Transient, DatabaseError) as error:
            return self._said(error, plain(transient(error) or error))
        return ""

    def _schemas_missing(self) -> str:
        if self._encoder is not None or not self._topics:
            return ""

        assert self._registry is not None
        assert self._catalogue is not None
        # One client for all tries: each new one would load the certificates again.
        self._client = self._client or Registry(self._registry)
        try:
            self._encoder = Encoder.load(self._client, self._catalogue, self._topics)
        except (Transient, ConfigurationError) as error:
            is_transient = isinstance(error, Transient)
            return self._said(
                error, plain(error) if is_transient else "registry: a schema is not registered"
            )
        self.close()
        return ""

    def _said(self, error: Exception, missing: str) -> str:
        """`missing`; what the server or driver said is only logged, once."""
        if missing not in self._missing:
            log.warning("something is missing", missing=missing, why=redacted(str(error)))
        return missing
