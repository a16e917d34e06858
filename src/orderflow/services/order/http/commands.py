"""
`POST …/orders/{orderId}/pay|ship|deliver|cancel`: commands to one order, each in a transaction of its own under the
order's lock.

`pay` and `ship` wait, outside of any transaction, for what payment and inventory will say: at most 10 s, or as long as
the client would (`Prefer: wait=n`). Then the answer is 202: what was asked for is recorded, and will be done.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from orderflow.contracts.ids import OrderId
from orderflow.messaging.http.bodies import decoded, read_body
from orderflow.messaging.http.problems import unavailable
from orderflow.messaging.postgres import ConnectionPool, unavailable_when_transient
from orderflow.services.order import idempotency, repository
from orderflow.services.order.config import OrderSettings
from orderflow.services.order.handlers import Command, Encode, Obeyed, obey
from orderflow.services.order.http import problems
from orderflow.services.order.http.long_poll import Watching
from orderflow.services.order.http.requests import (
    PayRequest,
    claim_of,
    order_id_of,
    traceparent_of,
    wait_of,
)
from orderflow.services.order.http.views import order_view
from orderflow.services.order.idempotency import Claim
from orderflow.services.order.model import Action, Order
from orderflow.services.order.rules import StockNotSettled, is_payment_settled, is_unsettled

PREFIXES = ("", "/api")
WAIT_S_MAX = 10.0

_PAY_REQUEST = msgspec.json.Decoder(PayRequest)


class Commanding:
    """Takes commands once `open` was called; before that, 503. `stopping` ends all waiting."""

    def __init__(self, pool: ConnectionPool, settings: OrderSettings) -> None:
        self._pool = pool
        self._settings = settings
        self._key_lifetime = timedelta(hours=settings.idempotency_hours)
        self._encode: Encode | None = None
        self._watching = Watching(self._look)

    def open(self, encode: Encode) -> None:
        self._encode = encode

    def stopping(self) -> None:
        self._watching.close()

    def routes(self) -> list[BaseRoute]:
        answers = {
            Action.PAY: self.pay,
            Action.SHIP: self.ship,
            Action.DELIVER: self.deliver,
            Action.CANCEL: self.cancel,
        }
        return [
            Route(f"{prefix}/orders/{{order_id}}/{action}", answer, methods=["POST"])
            for prefix in PREFIXES
            for action, answer in answers.items()
        ]

    async def pay(self, request: Request) -> Response:
        asked = await self._pay_request(request)
        key = dict(request.headers.raw).get(b"idempotency-key")
        claim = claim_of(key, scope=f"POST {request.url.path}", request=asked)
        command = msgspec.structs.replace(
            _command(request, Action.PAY),
            payment_method=asked.payment_method,
            default_payment_method=self._settings.default_payment_method,
            claim=claim,
        )
        return await self._paid(request, await run_in_threadpool(self._obey, command), claim)

    async def ship(self, request: Request) -> Response:
        command = _command(request, Action.SHIP)
        try:
            return _answer(200, (await run_in_threadpool(self._obey, command)).order)
        except StockNotSettled as error:
            await self._watching.until(
                error.order, lambda order: not is_unsettled(order), within_s=_wait(request)
            )
        later = msgspec.structs.replace(command, when_reserved=True)
        order = (await run_in_threadpool(self._obey, later)).order
        return _answer(202 if is_unsettled(order) else 200, order)

    def deliver(self, request: Request) -> Response:
        return _answer(200, self._obey(_command(request, Action.DELIVER)).order)

    def cancel(self, request: Request) -> Response:
        return _answer(200, self._obey(_command(request, Action.CANCEL)).order)

    async def _pay_request(self, request: Request) -> PayRequest:
        """The body is optional; none has no content type either."""
        headers = dict(request.headers.raw)
        if headers.get(b"content-length", b"0") == b"0" and b"transfer-encoding" not in headers:
            return PayRequest()
        body = await read_body(headers, request.receive, limit=self._settings.api.body_bytes_max)
        return decoded(_PAY_REQUEST, body)

    async def _paid(self, request: Request, obeyed: Obeyed, claim: Claim | None) -> Response:
        """Wait for how the attempt ends. With a key, whoever knows it first decides what all its requests get."""
        if obeyed.held is not None and obeyed.held.settled:
            return Response(obeyed.held.answer, media_type="application/json")
        order = await self._watching.until(
            obeyed.order,
            lambda order: is_payment_settled(order, obeyed.attempt),
            within_s=_wait(request),
        )
        if order is None:
            now = await run_in_threadpool(self._look, [obeyed.order.order_id])
            return _answer(202, now.get(obeyed.order.order_id, obeyed.order))
        answer = msgspec.json.encode(order_view(order))
        if claim is not None:
            answer = await run_in_threadpool(self._settle, claim, answer)
        return Response(answer, media_type="application/json")

    def _obey(self, command: Command) -> Obeyed:
        if self._encode is None:
            raise unavailable("the service is starting: see /readyz")
        with (
            unavailable_when_transient(),
            self._pool.connection() as connection,
            connection.cursor() as cursor,
        ):
            obeyed = obey(cursor, command, encode=self._encode, key_lifetime=self._key_lifetime)
        if obeyed is None:
            raise problems.no_such_order()
        if obeyed.held and command.claim and obeyed.held.request_hash != command.claim.request_hash:
            raise problems.key_taken()
        return obeyed

    def _settle(self, claim: Claim, answer: bytes) -> bytes:
        with (
            unavailable_when_transient(),
            self._pool.connection() as connection,
            connection.cursor() as cursor,
        ):
            return idempotency.settle(cursor, claim, answer)

    def _look(self, order_ids: Sequence[OrderId]) -> dict[OrderId, Order]:
        with (
            unavailable_when_transient(),
            self._pool.connection() as connection,
            connection.cursor() as cursor,
        ):
            return repository.find_many(cursor, order_ids)


def _command(request: Request, action: Action) -> Command:
    header = request.headers.get("traceparent")
    return Command(
        action=action,
        order_id=order_id_of(request),
        customer_id=request.query_params.get("customerId"),
        traceparent=traceparent_of(header.encode("latin-1") if header else None),
    )


def _wait(request: Request) -> float:
    return wait_of(",".join(request.headers.getlist("prefer")), at_most_s=WAIT_S_MAX)


def _answer(status: int, order: Order) -> Response:
    """202 says where to look how it ended."""
    headers = {"location": f"/orders/{order.order_id}"} if status == 202 else None
    body = msgspec.json.encode(order_view(order))
    return Response(body, status, headers=headers, media_type="application/json")
