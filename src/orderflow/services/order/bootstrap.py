"""The only place that builds things."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from orderflow.contracts.operator_commands import OPERATOR_COMMANDS
from orderflow.contracts.roster import SECTIONS
from orderflow.contracts.schemas import CATALOGUE
from orderflow.messaging import postgres
from orderflow.messaging.failpoints import failpoint
from orderflow.messaging.http.serving import Role
from orderflow.messaging.kafka.progress import GroupProgress
from orderflow.messaging.postgres import Session
from orderflow.messaging.postgres.group_commit import GroupCommit
from orderflow.messaging.process.role import STOP_WITHIN_S, Launch, worker_role
from orderflow.messaging.process.roles import listener_role, relay_role
from orderflow.messaging.process.service import Service
from orderflow.messaging.telemetry import logger
from orderflow.services.order import idempotency
from orderflow.services.order.config import Settings
from orderflow.services.order.http.api import OrderApi
from orderflow.services.order.http.commands import Commanding
from orderflow.services.order.http.list_orders import Listing
from orderflow.services.order.http.operators import Operating
from orderflow.services.order.http.post_order import Placing, Ready, resolve
from orderflow.services.order.http.readiness import Preparation, load_encoder
from orderflow.services.order.idempotency import KeyTaken
from orderflow.services.order.listeners import LISTENER
from orderflow.services.order.repository import Placement, Written, writer
from orderflow.services.order.sweeper import Sweeper

MIGRATIONS = Path(__file__).parent / "migrations"
PURGE_EVERY_S = 600

log = logger("order")


def api(launch: Launch[Settings]) -> Role:
    settings, order = launch.settings, launch.settings.order
    loop = asyncio.get_running_loop()
    placing = Placing(order)
    pool = postgres.open_pool(order.database, application_name="order-api")
    commanding = Commanding(pool, order)
    operating = Operating(pool, order.deadlines.limits)
    listing = Listing(pool, order.deadlines.limits)
    committer: GroupCommit[Placement, Written | KeyTaken] = GroupCommit(
        connect=lambda: postgres.connect(order.database, application_name="order-api-committer"),
        write=writer(order.idempotency_hours),
        deliver=lambda done: _on_loop(loop, lambda: resolve(done)),
        after_commit=lambda: failpoint("api.after_db_commit"),
        batch_max=order.api.batch_max,
        queue_max=order.api.queue_max,
    )

    def on_ready(ready: Ready) -> None:
        commanding.open(ready.encode)
        operating.open(ready.encode)
        _on_loop(loop, lambda: placing.open(ready, committer))

    preparation = Preparation(pool=pool, registry=settings.registry, on_ready=on_ready)
    purging = threading.Event()

    def purge() -> None:
        while not purging.wait(PURGE_EVERY_S):
            try:
                with pool.connection() as connection, connection.cursor() as cursor:
                    idempotency.purge(cursor, lifetime=timedelta(hours=order.idempotency_hours))
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

    return Role(
        name="order-api",
        host=order.api.host,
        port=order.api.port,
        start=start,
        close=close,
        stopping=commanding.stopping,
        reasons=preparation.reasons,
        app=lambda reasons: OrderApi(
            placing=placing,
            routes=[*listing.routes(), *commanding.routes(), *operating.routes()],
            pool=pool,
            reasons=reasons,
        ),
    )


def sweeper(launch: Launch[Settings]) -> Role:
    settings, order = launch.settings, launch.settings.order
    sweeping = Sweeper(
        settings=order.sweeper,
        limits=order.deadlines.limits,
        session=Session(order.database, application_name="order-sweeper"),
        progress=GroupProgress(
            settings.kafka, group=LISTENER.group, topics=tuple(LISTENER.subscribed)
        ),
        load=lambda: load_encoder(settings.registry).encode,
    )
    return worker_role(launch, run=sweeping.run, reasons=sweeping.reasons)


def _on_loop(loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(callback)


SERVICE = Service(
    name="order",
    program="python -m orderflow.services.order",
    settings=Settings,
    roles={
        "api": api,
        "relay": relay_role(commands=OPERATOR_COMMANDS),
        "listener": listener_role(LISTENER, catalogue=CATALOGUE),
        "sweeper": sweeper,
    },
    migrations=(MIGRATIONS,),
    neighbours=SECTIONS,
)
