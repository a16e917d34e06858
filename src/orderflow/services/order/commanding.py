"""`POST …/orders/{orderId}/cancel`: commands to one order, each in a transaction of its own under the order's lock."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from orderflow.messaging.observability import json
from orderflow.messaging.postgres import ConnectionPool, unavailable_when_transient
from orderflow.messaging.problems import unavailable
from orderflow.services.order import problems
from orderflow.services.order.handlers import CancelOrder, Encode, cancel_order
from orderflow.services.order.requests import order_id_of, traceparent_of
from orderflow.services.order.views import order_view

PREFIXES = ("", "/api")


class Commanding:
    """Takes commands once `open` was called; before that, 503."""

    def __init__(self, pool: ConnectionPool) -> None:
        self._pool = pool
        self._encode: Encode | None = None

    def open(self, encode: Encode) -> None:
        self._encode = encode

    def routes(self) -> list[BaseRoute]:
        return [Route(f"{prefix}/orders/{{order_id}}/cancel", self.cancel, methods=["POST"]) for prefix in PREFIXES]

    def cancel(self, request: Request) -> Response:
        header = request.headers.get("traceparent")
        command = CancelOrder(
            order_id=order_id_of(request),
            customer_id=request.query_params.get("customerId"),
            traceparent=traceparent_of(header.encode("latin-1") if header else None),
        )
        if self._encode is None:
            raise unavailable("the service is starting: see /readyz")
        with unavailable_when_transient(), self._pool.connection() as connection, connection.cursor() as cursor:
            order = cancel_order(cursor, command, encode=self._encode)
        if order is None:
            raise problems.no_such_order()
        return json(order_view(order))
