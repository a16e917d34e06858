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
from orderflow.messaging.http.preconditions import expected_version
from orderflow.messaging.http.problems import Problem
from orderflow.messaging.postgres import ConnectionPool, reading, writing
from orderflow.services.order import idempotency, repository
from orderflow.services.order.commands import Command, CommandResult, execute, is_to_be_shipped
from orderflow.services.order.config import OrderSettings
from orderflow.services.order.http import problems
from orderflow.services.order.http.command_log import CommandLog
from orderflow.services.order.http.long_poll import LongPoll
from orderflow.services.order.http.readiness import StartGate
from orderflow.services.order.http.repeats import demand_same, replayed, stored_answer
from orderflow.services.order.http.requests import (
    IDEMPOTENCY_KEY,
    NoFields,
    PayRequest,
    applied_of,
    claim_of,
    order_id_of,
    origin_of,
    wait_of,
)
from orderflow.services.order.http.views import OrderViews
from orderflow.services.order.idempotency import Claim
from orderflow.services.order.model import Action, Order
from orderflow.services.order.rules import StockNotSettled, is_payment_settled, is_unsettled
from orderflow.services.order.traces import record_change

WAIT_S_MAX = 10.0

Endpoint = Callable[[Request], Awaitable[Response]]

_PAY_REQUEST = msgspec.json.Decoder(PayRequest)
_NO_FIELDS = msgspec.json.Decoder(NoFields)


class CommandRoutes:
    """The routes of the four commands. 503 until the gate is open; `stopping` ends all waiting."""

    def __init__(self, pool: ConnectionPool, *, settings: OrderSettings, gate: StartGate) -> None:
        self._pool = pool
        self._settings = settings
        self._gate = gate
        self._log = CommandLog()
        self._views = OrderViews(settings.deadlines.limits)
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
                f"/orders/{{order_id}}/{action}",
                self._logged(action, endpoint),
                methods=["POST"],
            )
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
        limit = self._settings.api.body_bytes_max
        body = await read_optional_json(request, _PAY_REQUEST, default=PayRequest(), limit=limit)
        command = msgspec.structs.replace(
            self._command(request, Action.PAY, body),
            payment_method=body.payment_method,
            default_payment_method=self._settings.default_payment_method,
            # It is known once the payment has ended.
            answer=None,
        )
        result = await run_in_threadpool(self._execute, command)
        answer = await self._payment_answer(request, result, claim=command.claim)
        return _waited(request, answer)

    async def ship(self, request: Request) -> Response:
        command = await self._command_without_body(request, Action.SHIP)
        try:
            result = await run_in_threadpool(self._execute, command)
            return _waited(request, self._result(result, command))
        except StockNotSettled as error:
            await self._long_poll.until(
                error.order, lambda order: not is_unsettled(order), within_s=_wait_s(request)
            )

        # Settled or not: if inventory has still not answered, the order now ships once it has. It
        # was the expected one when the wait began: inventory's answer is what it waited for.
        later = msgspec.structs.replace(command, when_reserved=True, expected_revision=None)
        result = await run_in_threadpool(self._execute, later)
        return _waited(request, self._result(result, command))

    async def deliver(self, request: Request) -> Response:
        command = await self._command_without_body(request, Action.DELIVER)
        return self._result(await run_in_threadpool(self._execute, command), command)

    async def cancel(self, request: Request) -> Response:
        command = await self._command_without_body(request, Action.CANCEL)
        return self._result(await run_in_threadpool(self._execute, command), command)

    async def _command_without_body(self, request: Request, action: Action) -> Command:
        limit = self._settings.api.body_bytes_max
        body = await read_optional_json(request, _NO_FIELDS, default=NoFields(), limit=limit)
        return self._command(request, action, body)

    def _command(self, request: Request, action: Action, body: msgspec.Struct) -> Command:
        order_id = order_id_of(request)
        keys = [value for name, value in request.headers.raw if name == IDEMPOTENCY_KEY]
        return Command(
            action=action,
            order_id=order_id,
            customer_id=request.query_params.get("customerId"),
            expected_revision=expected_version(request),
            origin=origin_of(request, cause_type="command", cause_id=action),
            claim=claim_of(keys, scope=idempotency.scope_of(action, order_id), request=body),
            answer=lambda order: msgspec.json.encode(self._views.of(order)),
        )

    def _result(self, result: CommandResult, command: Command) -> Response:
        """The answer of a command that is executed, now or by an earlier request with its key."""
        if result.earlier is not None and result.earlier.settled:
            return replayed(stored_answer(result.earlier.answer, result.order.order_id))

        status = 202 if is_to_be_shipped(result.order, command) else 200
        answer = self._answer(status, result.order)
        return answer if result.earlier is None else replayed(answer)

    def _answer(self, status: int, order: Order) -> Response:
        return self._views.answer(order, status=status)

    async def _payment_answer(
        self, request: Request, result: CommandResult, *, claim: Claim | None
    ) -> Response:
        """Wait until the payment attempt has ended; 202 if that takes too long."""
        if result.earlier is not None and result.earlier.settled:
            return replayed(stored_answer(result.earlier.answer, result.order.order_id))

        order = await self._long_poll.until(
            result.order,
            lambda order: is_payment_settled(order, result.attempt),
            within_s=_wait_s(request),
        )
        if order is None:
            orders = await run_in_threadpool(self._find_many, [result.order.order_id])
            return self._answer(202, orders.get(result.order.order_id, result.order))

        # With a key, the first request that comes here decides the answer of all of them.
        answer = msgspec.json.encode(self._views.of(order))
        if claim is not None:
            answer = await run_in_threadpool(self._settle, claim, answer)
        return stored_answer(answer, order.order_id)

    def _execute(self, command: Command) -> CommandResult:
        encode, began_ns = self._gate.demand().encode, time.time_ns()
        with writing(self._pool) as cursor:
            result = execute(cursor, command, encode=encode, key_lifetime=self._key_lifetime)

        if result is None:
            raise problems.no_such_order()
        if result.earlier:
            demand_same(result.earlier, command.claim)
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


def _order_id_if_any(request: Request) -> str | UnsetType:
    """The order id in the path; a client may have put anything there."""
    try:
        return order_id_of(request)
    except Problem:
        return UNSET


def _wait_s(request: Request) -> float:
    return wait_of(_prefer(request), at_most_s=WAIT_S_MAX)


def _prefer(request: Request) -> str:
    return ",".join(request.headers.getlist("prefer"))


def _waited(request: Request, answer: Response) -> Response:
    """With what was understood of the client's wish how long to wait."""
    applied = applied_of(_prefer(request), at_most_s=WAIT_S_MAX)
    if applied is not None:
        answer.headers["preference-applied"] = applied
    return answer
