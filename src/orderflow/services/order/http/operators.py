"""`POST /orders/{orderId}/retry|cancel-by-operator`: what operators do about an order that does not get on."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from orderflow.contracts.ids import OrderId
from orderflow.messaging.event import read_clock
from orderflow.messaging.http.health import json_answer
from orderflow.messaging.http.problems import unavailable
from orderflow.messaging.postgres import ConnectionPool, Cursor, unavailable_when_transient
from orderflow.services.order.deadlines import Limits, waiting
from orderflow.services.order.handlers import Encode
from orderflow.services.order.http import problems
from orderflow.services.order.http.requests import order_id_of, traceparent_of
from orderflow.services.order.http.views import order_view
from orderflow.services.order.operator_acts import cancel_by_operator, retry
from orderflow.services.order.rules import NothingToRetry

T = TypeVar("T")


class RetriedView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """`repeated`: the event went out again as it was, under its id; else it was made anew."""

    order_id: str
    event_id: str
    event_type: str
    repeated: bool


class Operating:
    """Takes commands once `open` was called; before that, 503. `limits` are for telling what to do instead."""

    def __init__(self, pool: ConnectionPool, limits: Limits) -> None:
        self._pool = pool
        self._limits = limits
        self._encode: Encode | None = None

    def open(self, encode: Encode) -> None:
        self._encode = encode

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/orders/{order_id}/retry", self.retry, methods=["POST"]),
            Route("/orders/{order_id}/cancel-by-operator", self.cancel, methods=["POST"]),
        ]

    def retry(self, request: Request) -> Response:
        try:
            retried = self._do(request, retry)
        except NothingToRetry as error:
            told = waiting(error.order, limits=self._limits, now=read_clock())
            raise problems.nothing_to_retry(
                error, told.next_action if told else "nothing: it has come to its end"
            ) from error
        view = RetriedView(
            order_id=retried.order_id,
            event_id=str(retried.event_id),
            event_type=retried.event_type,
            repeated=retried.repeated,
        )
        return json_answer(view, status=202)

    def cancel(self, request: Request) -> Response:
        return json_answer(order_view(self._do(request, cancel_by_operator)))

    def _do(self, request: Request, act: Callable[[Cursor, OrderId, str, Encode], T | None]) -> T:
        order_id = order_id_of(request)
        if self._encode is None:
            raise unavailable("the service is starting: see /readyz")
        header = request.headers.get("traceparent")
        traceparent = traceparent_of(header.encode("latin-1") if header else None)
        with (
            unavailable_when_transient(),
            self._pool.connection() as connection,
            connection.cursor() as cursor,
        ):
            done = act(cursor, order_id, traceparent, self._encode)
        if done is None:
            raise problems.no_such_order()
        return done
