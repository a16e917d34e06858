"""What the lake exporter is built from; nothing is built elsewhere in it."""

from __future__ import annotations

import threading
from pathlib import Path
from urllib.parse import unquote, urlsplit

import msgspec

from orderflow.contracts.roster import SECTIONS
from orderflow.contracts.schemas import CATALOGUE
from orderflow.messaging.container import Container, ContainerSettings
from orderflow.messaging.errors import ConfigurationError, Transient, plain
from orderflow.messaging.http.server import Role
from orderflow.messaging.process.role import Launch, worker_role
from orderflow.messaging.process.service import Service
from orderflow.messaging.telemetry import logger
from orderflow.services.lake.api import Readers, build_api
from orderflow.services.lake.config import Settings, StoreSection
from orderflow.services.lake.handlers import Exporter
from orderflow.services.lake.listeners import writing
from orderflow.services.lake.local_store import LocalStore
from orderflow.services.lake.rows import Rows
from orderflow.services.lake.s3_store import BucketStore
from orderflow.services.lake.store import Store
from orderflow.services.lake.sums import Sums

URL = "ORDERFLOW_LAKE__STORE__URL"
TRY_EVERY_S = 1.0

log = logger("lake")


def exporter(launch: Launch[Settings]) -> Role:
    lake = launch.settings.lake
    store = open_store(lake.store)
    listener = writing(
        Exporter(store, block_offsets=lake.block_offsets),
        flush_records=lake.flush_records,
        flush_s=lake.flush_s,
    )
    container = Container(
        ContainerSettings(
            listener=listener,
            kafka=launch.settings.kafka,
            registry=launch.settings.registry,
            catalogue=CATALOGUE,
            slot=launch.slot,
            consumer_overrides={"session.timeout.ms": int(lake.session_s * 1000)},
            records_max=lake.flush_records,
            log_records=launch.settings.telemetry.log_records,
        )
    )
    preparation = Preparation(store)
    readers = Readers(Sums(store), Rows(store, block_offsets=lake.block_offsets))

    def run(stop: threading.Event) -> None:
        if preparation.wait(stop):
            container.run(stop)

    worker = worker_role(
        launch,
        run=run,
        reasons=lambda: preparation.reasons() or container.reasons(),
        in_slots=True,
    )
    return msgspec.structs.replace(worker, app=lambda reasons: build_api(readers, reasons))


class Preparation:
    """Waits, before the group is joined, until the store can be written."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._missing = ["starting"]

    def reasons(self) -> list[str]:
        return self._missing

    def wait(self, stop: threading.Event) -> bool:
        """True once it can; False if `stop` was set before."""
        while not stop.is_set():
            try:
                self._store.prepare()
            except Transient as error:
                missing = [plain(error)]
                if missing != self._missing:
                    log.warning("waiting for the store", why=str(error))
                self._missing = missing
            else:
                self._missing = []
                return True

            stop.wait(TRY_EVERY_S)
        return False


def open_store(section: StoreSection) -> Store:
    """The store of the URL. Raises ConfigurationError for one that is none."""
    url = urlsplit(section.url)
    if url.scheme == "file" and url.path and not url.netloc:
        return LocalStore(Path(unquote(url.path)).absolute())
    if url.scheme == "s3" and url.netloc and not url.query:
        return BucketStore(url.netloc, url.path.strip("/"), section)
    raise ConfigurationError(
        f"{URL}: this is no place for a lake: name a directory (file:///srv/lake) or a bucket "
        "(s3://bucket/prefix)"
    )


SERVICE = Service(
    name="lake",
    program="python -m orderflow.services.lake",
    settings=Settings,
    roles={"exporter": exporter},
    neighbours=SECTIONS,
)
