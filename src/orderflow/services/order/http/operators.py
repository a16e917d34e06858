"""`POST /orders/{orderId}/retry|cancel-by-operator`: what operators do about a stuck order."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Protocol, TypeVar

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from orderflow.contracts.ids import OrderId
from orderflow.messaging.http.actor import ReasonRequest, actor_of
from orderflow.messaging.http.bodies import read_optional_json
from orderflow.messaging.http.preconditions import expected_version
from orderflow.messaging.http.problems import too_soon
from orderflow.messaging.postgres import ConnectionPool, Cursor, writing
from orderflow.services.order import idempotency
from orderflow.services.order.changes import Encode
from orderflow.services.order.config import OrderSettings
from orderflow.services.order.http import problems
from orderflow.services.order.http.readiness import StartGate
from orderflow.services.order.http.repeats import demand_same, replayed, stored_answer
from orderflow.services.order.http.requests import (
    IDEMPOTENCY_KEY,
    claim_of,
    order_id_of,
    origin_of,
)
from orderflow.services.order.http.views import OrderViews, next_action
from orderflow.services.order.idempotency import Claim, ClaimedKey
from orderflow.services.order.model import Order, WaitingFor
from orderflow.services.order.operator_acts import (
    OPERATOR,
    RETRY,
    Retried,
    RetriedAlready,
    Wish,
    cancel_by_operator,
    retry,
)
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

    def __call__(self, cursor: Cursor, wish: Wish, /, *, encode: Encode) -> T_co | None: ...


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to an act. `repeated`: that of an earlier request with the same key."""

    answer: bytes
    repeated: bool


class OperatorRoutes:
    """The routes for operators. 503 until the gate is open. History records who, and why."""

    def __init__(self, pool: ConnectionPool, *, settings: OrderSettings, gate: StartGate) -> None:
        self._pool = pool
        self._gate = gate
        self._body_bytes_max = settings.api.body_bytes_max
        self._retry_every = timedelta(seconds=settings.api.retry_every_s)
        self._key_lifetime = timedelta(hours=settings.idempotency_hours)
        self._views = OrderViews(settings.deadlines.limits)

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/orders/{order_id}/retry", self.retry, methods=["POST"]),
            Route("/orders/{order_id}/cancel-by-operator", self.cancel, methods=["POST"]),
        ]

    async def retry(self, request: Request) -> Response:
        try:
            done = await self._execute(request, retry, RETRY, self._retried)
        except NothingToRetry as error:
            instead = next_action(error.order) or "nothing: it has come to its end"
            raise problems.nothing_to_retry(error, instead) from error
        except RetriedAlready as error:
            raise too_soon(error.wait.total_seconds(), str(error)) from error

        answer = Response(done.answer, 202, media_type="application/json")
        return replayed(answer) if done.repeated else answer

    async def cancel(self, request: Request) -> Response:
        done = await self._execute(request, cancel_by_operator, "cancel", self._cancelled)
        answer = stored_answer(done.answer, order_id_of(request))
        return replayed(answer) if done.repeated else answer

    async def _execute(
        self, request: Request, act: Act[T_co], name: str, answer: Callable[[T_co], bytes]
    ) -> Done:
        limit = self._body_bytes_max
        body = await read_optional_json(request, _REASON, default=ReasonRequest(), limit=limit)
        order_id = order_id_of(request)
        origin = msgspec.structs.replace(
            origin_of(request, cause_type=OPERATOR, cause_id=name),
            actor=actor_of(request),
            reason=body.reason,
        )
        wish = Wish(
            order_id=order_id,
            origin=origin,
            expected_revision=expected_version(request),
            retry_every=self._retry_every,
        )

        keys = [value for name, value in request.headers.raw if name == IDEMPOTENCY_KEY]
        scope = idempotency.scope_of(f"{OPERATOR}-{name}", order_id)
        claim = claim_of(keys, scope=scope, request=body)
        return await run_in_threadpool(self._write, wish, act, answer, claim)

    def _write(
        self, wish: Wish, act: Act[T_co], answer: Callable[[T_co], bytes], claim: Claim | None
    ) -> Done:
        encode, began_ns = self._gate.demand().encode, time.time_ns()
        with writing(self._pool) as cursor:
            # The key first: whoever sends the same at the same time waits here for the answer.
            if claim and (earlier := self._claim(cursor, claim, wish.order_id)):
                demand_same(earlier, claim)
                return Done(answer=earlier.answer, repeated=True)

            result = act(cursor, wish, encode=encode)
            # Within the transaction, which rolls back: what is refused burns no key.
            if result is None:
                raise problems.no_such_order()
            done = Done(answer=answer(result), repeated=False)
            if claim:
                idempotency.settle(cursor, claim, answer=done.answer)

        record_change(
            [result if isinstance(result, Order) else result.order],
            f"operator: {wish.origin.id}",
            kind="server",
            began_ns=began_ns,
            given=wish.origin.traceparent,
        )
        return done

    def _claim(self, cursor: Cursor, claim: Claim, order_id: OrderId) -> ClaimedKey | None:
        return idempotency.claim(
            cursor, [(claim, order_id, b"")], lifetime=self._key_lifetime, settled=False
        ).get(order_id)

    def _cancelled(self, order: Order) -> bytes:
        return msgspec.json.encode(self._views.of(order))

    def _retried(self, retried: Retried) -> bytes:
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

        return msgspec.json.encode(view)
