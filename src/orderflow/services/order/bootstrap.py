"""The only place that builds things. Read from top to bottom: migrate, api, relay."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path

from starlette.applications import Starlette

from orderflow.messaging import postgres
from orderflow.messaging.group_commit import GroupCommit
from orderflow.messaging.relay import Relay, RelaySettings
from orderflow.messaging.serving import Served
from orderflow.messaging.telemetry import logger
from orderflow.messaging.testing.failpoints import failpoint
from orderflow.services.order import problems
from orderflow.services.order.api import OrderApi, observability
from orderflow.services.order.config import Settings
from orderflow.services.order.placing import Placing, Ready, resolve
from orderflow.services.order.preparation import Preparation
from orderflow.services.order.repository import KeyTaken, Placement, Written, purge_keys, writer

MIGRATIONS = Path(__file__).parent / "migrations"
PURGE_EVERY_S = 600
STOP_WITHIN_S = 5.0
"""After the edge's 4 s: together below the 10 s that a stop may take."""

log = logger("order")


def migrate(settings: Settings) -> list[str]:
    return postgres.migrate(settings.order.database.dsn.get_secret_value(), MIGRATIONS)


def api(settings: Settings) -> Served:
    order = settings.order
    loop = asyncio.get_running_loop()
    placing = Placing(order)
    pool = postgres.open_pool(order.database, application_name="order-api")
    committer: GroupCommit[Placement, Written | KeyTaken] = GroupCommit(
        connect=lambda: postgres.connect(order.database, application_name="order-api-committer"),
        write=writer(order.idempotency_hours),
        deliver=lambda done: _on_loop(loop, lambda: resolve(done)),
        after_commit=lambda: failpoint("api.after_db_commit"),
        batch_max=order.api.batch_max,
        queue_max=order.api.queue_max,
    )

    def on_ready(ready: Ready) -> None:
        _on_loop(loop, lambda: placing.open(ready, committer))

    preparation = Preparation(pool=pool, registry=settings.registry, on_ready=on_ready)
    purging = threading.Event()

    def purge() -> None:
        while not purging.wait(PURGE_EVERY_S):
            try:
                with pool.connection() as connection, connection.cursor() as cursor:
                    purge_keys(cursor, idempotency_hours=order.idempotency_hours)
            except postgres.DatabaseError as error:
                log.warning("expired idempotency keys stay for now", reason=str(error))

    def start() -> None:
        committer.start()
        preparation.start()
        threading.Thread(target=purge, name="purge-keys", daemon=True).start()

    def close() -> None:
        purging.set()
        preparation.close()
        committer.close(STOP_WITHIN_S - 1)
        pool.close()

    app = OrderApi(placing=placing, pool=pool, reasons=preparation.reasons)
    return Served(name="order-api", host=order.api.host, port=order.api.port, app=app, start=start, close=close)


def relay(settings: Settings, on_failure: Callable[[BaseException], None]) -> Served:
    order = settings.order
    publisher = Relay(RelaySettings(service="order", database=order.database, kafka=settings.kafka))
    stop = threading.Event()

    def run() -> None:
        try:
            publisher.run(stop)
        except BaseException as error:  # noqa: BLE001 - the thread's end is the process's end: it is told in main
            on_failure(error)

    thread = threading.Thread(target=run, name="relay", daemon=True)

    def close() -> None:
        stop.set()
        thread.join(STOP_WITHIN_S)

    def reasons() -> list[str]:
        health = publisher.health
        return [] if health.ready else [f"relay {health.state}: {health.reason}".rstrip(": ")]

    app = Starlette(routes=observability(reasons), exception_handlers=problems.HANDLERS)
    return Served(
        name="order-relay", host=order.relay.host, port=order.relay.port, app=app, start=thread.start, close=close
    )


def _on_loop(loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(callback)
