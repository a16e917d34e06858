"""
`POST …/orders/{orderId}/pay|ship|deliver|cancel`: commands to one order.

Each command is one transaction under the order's lock. `pay` and `ship` then wait, outside of any
transaction, for the answers of payment and inventory: at most 10 s, or as long as the client wants
to (`Prefer: wait=n`). After that the answer is 202: the command is recorded and will be executed.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta

import msgspec
from msgspec import UNSET, UnsetType
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from orderflow.contracts.ids import OrderId
from orderflow.messaging.http.bodies import read_optional_json
from orderflow.messaging.http.problems import Problem
from orderflow.messaging.postgres import ConnectionPool, reading, writing
from orderflow.services.order import idempotency, repository
from orderflow.services.order.commands import Command, CommandResult, execute
from orderflow.services.order.config import OrderSettings
from orderflow.services.order.http import problems
from orderflow.services.order.http.command_log import CommandLog
from orderflow.services.order.http.long_poll import LongPoll
from orderflow.services.order.http.readiness import StartGate
from orderflow.services.order.http.requests import (
    PayRequest,
    claim_of,
    order_id_of,
    origin_of,
    wait_of,
)
from orderflow.services.order.http.views import order_view
from orderflow.services.order.idempotency import Claim, ClaimedKey
from orderflow.services.order.model import Action, Order
from orderflow.services.order.rules import StockNotSettled, is_payment_settled, is_unsettled
from orderflow.services.order.traces import record_change

PREFIXES = ("", "/api")
WAIT_S_MAX = 10.0

Endpoint = Callable[[Request], Awaitable[Response]]

_PAY_REQUEST = msgspec.json.Decoder(PayRequest)


class CommandRoutes:
    """The routes of the four commands. 503 until the gate is open; `stopping` ends all waiting."""

    def __init__(self, pool: ConnectionPool, *, settings: OrderSettings, gate: StartGate) -> None:
        self._pool = pool
        self._settings = settings
        self._gate = gate
        self._log = CommandLog()
        self._key_lifetime = timedelta(hours=settings.idempotency_hours)
        self._long_poll = LongPoll(self._find_many)

    def stopping(self) -> None:
        self._long_poll.close()

    def routes(self) -> list[BaseRoute]:
        endpoints = {
            Action.PAY: self.pay,
            Action.SHIP: self.ship,
            Action.DELIVER: self.deliver,
            Action.CANCEL: self.cancel,
        }

        return [
            Route(
                f"{prefix}/orders/{{order_id}}/{action}",
                self._logged(action, endpoint),
                methods=["POST"],
            )
            for prefix in PREFIXES
            for action, endpoint in endpoints.items()
        ]

    def _logged(self, action: Action, endpoint: Endpoint) -> Endpoint:
        """The endpoint, with a line about each of its answers."""

        async def answer(request: Request) -> Response:
            status = 500
            try:
                response = await endpoint(request)
                status = response.status_code

            except problems.EXPECTED_ALL as error:
                status = problems.from_error(error).status
                raise
            finally:
                self._log.add(
                    action,
                    status,
                    order_id=_order_id_if_any(request),
                    traceparent=request.headers.get("traceparent"),
                )
            return response

        return answer

    async def pay(self, request: Request) -> Response:
        pay_request = await self._pay_request(request)
        key = dict(request.headers.raw).get(b"idempotency-key")
        scope = idempotency.scope_of(Action.PAY, order_id_of(request))
        claim = claim_of(key, scope=scope, request=pay_request)

        command = msgspec.structs.replace(
            _command(request, Action.PAY),
            payment_method=pay_request.payment_method,
            default_payment_method=self._settings.default_payment_method,
            claim=claim,
        )
        result = await run_in_threadpool(self._execute, command)
        return await self._payment_answer(request, result, claim=claim)

    async def ship(self, request: Request) -> Response:
        command = _command(request, Action.SHIP)
        try:
            return _answer(200, (await run_in_threadpool(self._execute, command)).order)
        except StockNotSettled as error:
            await self._long_poll.until(
                error.order, lambda order: not is_unsettled(order), within_s=_wait_s(request)
            )

        # Settled or not: if inventory has still not answered, the order now ships once it has.
        later = msgspec.structs.replace(command, when_reserved=True)
        order = (await run_in_threadpool(self._execute, later)).order
        return _answer(202 if is_unsettled(order) else 200, order)

    async def deliver(self, request: Request) -> Response:
        command = _command(request, Action.DELIVER)
        return _answer(200, (await run_in_threadpool(self._execute, command)).order)

    async def cancel(self, request: Request) -> Response:
        command = _command(request, Action.CANCEL)
        return _answer(200, (await run_in_threadpool(self._execute, command)).order)

    async def _pay_request(self, request: Request) -> PayRequest:
        limit = self._settings.api.body_bytes_max
        return await read_optional_json(request, _PAY_REQUEST, default=PayRequest(), limit=limit)

    async def _payment_answer(
        self, request: Request, result: CommandResult, *, claim: Claim | None
    ) -> Response:
        """Wait until the payment attempt has ended; 202 if that takes too long."""
        if result.earlier is not None and result.earlier.settled:
            return Response(result.earlier.answer, media_type="application/json")

        order = await self._long_poll.until(
            result.order,
            lambda order: is_payment_settled(order, result.attempt),
            within_s=_wait_s(request),
        )
        if order is None:
            orders = await run_in_threadpool(self._find_many, [result.order.order_id])
            return _answer(202, orders.get(result.order.order_id, result.order))

        # With a key, the first request that comes here decides the answer of all of them.
        answer = msgspec.json.encode(order_view(order))
        if claim is not None:
            answer = await run_in_threadpool(self._settle, claim, answer)
        return Response(answer, media_type="application/json")

    def _execute(self, command: Command) -> CommandResult:
        encode, began_ns = self._gate.demand().encode, time.time_ns()
        with writing(self._pool) as cursor:
            result = execute(cursor, command, encode=encode, key_lifetime=self._key_lifetime)

        if result is None:
            raise problems.no_such_order()
        if result.earlier and not _is_same_request(result.earlier, command.claim):
            raise problems.key_taken()
        record_change(
            [result.order],
            f"POST /orders/{{orderId}}/{command.action}",
            kind="server",
            began_ns=began_ns,
            given=command.origin.traceparent,
        )
        return result

    def _settle(self, claim: Claim, answer: bytes) -> bytes:
        with writing(self._pool) as cursor:
            return idempotency.settle(cursor, claim, answer=answer)

    def _find_many(self, order_ids: Sequence[OrderId]) -> dict[OrderId, Order]:
        with reading(self._pool) as cursor:
            return repository.find_many(cursor, order_ids)


def _command(request: Request, action: Action) -> Command:
    return Command(
        action=action,
        order_id=order_id_of(request),
        customer_id=request.query_params.get("customerId"),
        origin=origin_of(request, cause_type="command", cause_id=action),
    )


def _order_id_if_any(request: Request) -> str | UnsetType:
    """The order id in the path; a client may have put anything there."""
    try:
        return order_id_of(request)
    except Problem:
        return UNSET


def _is_same_request(earlier: ClaimedKey, claim: Claim | None) -> bool:
    return claim is not None and earlier.request_hash == claim.request_hash


def _wait_s(request: Request) -> float:
    return wait_of(",".join(request.headers.getlist("prefer")), at_most_s=WAIT_S_MAX)


def _answer(status: int, order: Order) -> Response:
    """The order as it is now; a 202 names in Location where to read how the command ended."""
    headers = {"location": f"/orders/{order.order_id}"} if status == 202 else None
    body = msgspec.json.encode(order_view(order))
    return Response(body, status, headers=headers, media_type="application/json")
