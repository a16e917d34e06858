"""What each role of the order service is built from; nothing is built elsewhere in it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from functools import partial
from pathlib import Path

from orderflow.contracts.operator_commands import OPERATOR_COMMANDS
from orderflow.contracts.roster import SECTIONS
from orderflow.contracts.schemas import CATALOGUE
from orderflow.contracts.topics import ORDER_EVENTS, ORDERS
from orderflow.messaging import postgres
from orderflow.messaging.error_text import error_text
from orderflow.messaging.errors import Transient
from orderflow.messaging.failpoints import failpoint
from orderflow.messaging.http.server import Role
from orderflow.messaging.kafka.progress import GroupProgress
from orderflow.messaging.postgres import (
    BY_KEY,
    ConnectionPool,
    Cursor,
    DatabaseError,
    Session,
    writing,
)
from orderflow.messaging.postgres.group_commit import GroupCommit
from orderflow.messaging.process.database_check import DatabaseCheck
from orderflow.messaging.process.measuring import measuring
from orderflow.messaging.process.prerequisites import Prerequisites
from orderflow.messaging.process.role import STOP_WITHIN_S, Launch, worker_role
from orderflow.messaging.process.roles import listener_role, relay_role
from orderflow.messaging.process.service import Service
from orderflow.messaging.telemetry import logger
from orderflow.messaging.work.turning import Turning
from orderflow.services.order import idempotency
from orderflow.services.order.changes import Encode
from orderflow.services.order.config import Settings
from orderflow.services.order.http.api import OrderApi
from orderflow.services.order.http.commands import CommandRoutes
from orderflow.services.order.http.list_orders import ListOrders
from orderflow.services.order.http.operators import OperatorRoutes
from orderflow.services.order.http.post_order import Committer, PostOrder, is_awaited, resolve
from orderflow.services.order.http.products import ProductRoutes
from orderflow.services.order.http.readiness import Readiness, StartGate, migrated
from orderflow.services.order.listeners import LISTENER
from orderflow.services.order.measurements import measurements
from orderflow.services.order.place_batch import writer
from orderflow.services.order.sweeper import Sweeper

MIGRATIONS = Path(__file__).parent / "migrations"
PURGE_EVERY_S = 600

log = logger("order")


def api(launch: Launch[Settings]) -> Role:
    order = launch.settings.order
    pool = postgres.open_pool(order.database, application_name="order-api")
    prerequisites = _prerequisites(launch, migrated(pool))
    committer = _committer(launch, encode=prerequisites.encode)
    gate = StartGate()
    check = DatabaseCheck(order.database, application_name="order-api-readiness", table="orders")
    readiness = Readiness(check=check, prerequisites=prerequisites, gate=gate)
    commands = CommandRoutes(pool, settings=order, gate=gate)
    routes = [
        *ListOrders(pool, order.deadlines.limits).routes(),
        *commands.routes(),
        *OperatorRoutes(pool, settings=order, gate=gate).routes(),
        *ProductRoutes(pool, body_bytes_max=order.api.body_bytes_max).routes(),
    ]
    purging = threading.Event()
    purging_turns = Turning("idempotency keys")
    purge = partial(
        _purge_keys,
        pool,
        lifetime=timedelta(hours=order.idempotency_hours),
        stop=purging,
        turning=purging_turns,
    )

    def start() -> None:
        committer.start()
        readiness.start()
        threading.Thread(target=purge, name="purge-keys", daemon=True).start()

    def close() -> None:
        purging.set()
        readiness.close()
        # Orders that were accepted are committed before the pool goes.
        committer.close(STOP_WITHIN_S - 1)
        pool.close()

    role = Role(
        name="order-api",
        host=order.api.host,
        port=order.api.port,
        start=start,
        close=close,
        stopping=commands.stopping,
        reasons=lambda: [*readiness.reasons(), *committer.reasons(), *purging_turns.reasons()],
        app=lambda reasons: OrderApi(
            post_order=PostOrder(order, gate=gate, committer=committer),
            routes=routes,
            pool=pool,
            reasons=reasons,
        ),
    )
    return measuring(role, measurements(order.deadlines.limits), launch)


def sweeper(launch: Launch[Settings]) -> Role:
    settings, order = launch.settings, launch.settings.order
    session = Session(order.database, application_name="order-sweeper", session=BY_KEY)
    sweeping = Sweeper(
        settings=order.sweeper,
        limits=order.deadlines.limits,
        prerequisites=_prerequisites(launch, session.transaction),
        session=session,
        progress=GroupProgress(
            settings.kafka, group=LISTENER.group, topics=tuple(LISTENER.subscribed)
        ),
    )
    return worker_role(launch, run=sweeping.run, reasons=sweeping.reasons)


def _committer(launch: Launch[Settings], *, encode: Encode) -> Committer:
    order = launch.settings.order
    loop = asyncio.get_running_loop()

    return GroupCommit(
        connect=lambda: postgres.connect(
            order.database, application_name="order-api-committer", autocommit=True
        ),
        write=writer(order.idempotency_hours, encode=encode),
        deliver=lambda outcomes: _on_loop(loop, lambda: resolve(outcomes)),
        after_commit=lambda: failpoint("api.after_db_commit"),
        is_wanted=is_awaited,
        batch_max=order.api.batch_max,
        queue_max=order.api.queue_max,
    )


def _on_loop(loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(callback)


def _prerequisites(
    launch: Launch[Settings], transaction: Callable[[], AbstractContextManager[Cursor]]
) -> Prerequisites:
    return Prerequisites(
        transaction=transaction,
        relay=launch.service,
        registry=launch.settings.registry,
        catalogue=CATALOGUE,
        topics=(ORDERS.name, ORDER_EVENTS.name),
    )


def _purge_keys(
    pool: ConnectionPool, *, lifetime: timedelta, stop: threading.Event, turning: Turning
) -> None:
    while not stop.wait(PURGE_EVERY_S):
        try:
            purged = idempotency.PURGE_ROWS_MAX
            while purged == idempotency.PURGE_ROWS_MAX and not stop.is_set():
                turning.mark("delete")
                with writing(pool) as cursor:
                    purged = idempotency.purge(cursor, lifetime=lifetime)
        except (Transient, DatabaseError) as error:
            log.warning("expired idempotency keys stay for now", reason=error_text(error))
        turning.rest()


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
