"""`POST /orders/{orderId}/retry|cancel-by-operator`: what operators do about a stuck order."""

from __future__ import annotations

import time
from typing import Protocol, TypeVar

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from orderflow.contracts.ids import OrderId
from orderflow.messaging.http.actor import ReasonRequest, actor_of
from orderflow.messaging.http.bodies import read_optional_json
from orderflow.messaging.http.health import json_answer
from orderflow.messaging.postgres import ConnectionPool, Cursor, writing
from orderflow.services.order.changes import Encode, Origin
from orderflow.services.order.deadlines import Limits
from orderflow.services.order.http import problems
from orderflow.services.order.http.readiness import StartGate
from orderflow.services.order.http.requests import order_id_of, origin_of
from orderflow.services.order.http.views import OrderViews, next_action
from orderflow.services.order.model import Order, WaitingFor
from orderflow.services.order.operator_acts import Retried, cancel_by_operator, retry
from orderflow.services.order.rules import NothingToRetry
from orderflow.services.order.traces import record_change

T_co = TypeVar("T_co", bound=Order | Retried, covariant=True)

_REASON = msgspec.json.Decoder(ReasonRequest)


class RetriedEventView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """`repeated`: the same event again, with its id; otherwise a new event."""

    event_id: str
    event_type: str
    repeated: bool


class RetriedView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What went out again. `waitsFor`: the fact that is to come of it."""

    order_id: str
    waits_for: WaitingFor
    events: tuple[RetriedEventView, ...]


class Act(Protocol[T_co]):
    """What an operator does to an order, in a transaction; None if there is no such order."""

    def __call__(
        self, cursor: Cursor, order_id: OrderId, /, *, origin: Origin, encode: Encode
    ) -> T_co | None: ...


class OperatorRoutes:
    """The routes for operators. 503 until the gate is open. History records who, and why."""

    def __init__(self, pool: ConnectionPool, gate: StartGate, limits: Limits) -> None:
        self._pool = pool
        self._gate = gate
        self._views = OrderViews(limits)

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/orders/{order_id}/retry", self.retry, methods=["POST"]),
            Route("/orders/{order_id}/cancel-by-operator", self.cancel, methods=["POST"]),
        ]

    async def retry(self, request: Request) -> Response:
        try:
            retried = await self._execute(request, retry, name="retry")
        except NothingToRetry as error:
            instead = next_action(error.order) or "nothing: it has come to its end"
            raise problems.nothing_to_retry(error, instead) from error

        view = RetriedView(
            order_id=retried.order.order_id,
            waits_for=retried.awaited,
            events=tuple(
                RetriedEventView(
                    event_id=str(event.event_id),
                    event_type=event.event_type,
                    repeated=event.repeated,
                )
                for event in retried.events
            ),
        )
        return json_answer(view, status=202)

    async def cancel(self, request: Request) -> Response:
        order = await self._execute(request, cancel_by_operator, name="cancel")
        return self._views.answer(order)

    async def _execute(self, request: Request, act: Act[T_co], *, name: str) -> T_co:
        body = await read_optional_json(request, _REASON, default=ReasonRequest())
        origin = msgspec.structs.replace(
            origin_of(request, cause_type="operator", cause_id=name),
            actor=actor_of(request),
            reason=body.reason,
        )
        return await run_in_threadpool(self._write, order_id_of(request), act, origin)

    def _write(self, order_id: OrderId, act: Act[T_co], origin: Origin) -> T_co:
        encode, began_ns = self._gate.demand().encode, time.time_ns()
        with writing(self._pool) as cursor:
            result = act(cursor, order_id, origin=origin, encode=encode)
        if result is None:
            raise problems.no_such_order()

        record_change(
            [result if isinstance(result, Order) else result.order],
            f"operator: {origin.id}",
            kind="server",
            began_ns=began_ns,
            given=origin.traceparent,
        )
        return result
