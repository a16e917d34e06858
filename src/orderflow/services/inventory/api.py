"""
The inventory API: what is on the shelf, what moved there, and what is reserved for an order.

A stock-take says which movement was the last when the pieces were counted; so none is written over
what moved since. A receipt adds, and has a key, so that no repeat adds twice.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import timedelta
from http import HTTPStatus
from typing import Annotated

import msgspec
from msgspec import Meta
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from orderflow.contracts.ids import OrderId, Sku, known_order_id
from orderflow.messaging.http import problems
from orderflow.messaging.http.actor import actor_of
from orderflow.messaging.http.api import http_api
from orderflow.messaging.http.bodies import BODY_BYTES_MAX, read_json
from orderflow.messaging.http.health import Reasons, json_answer
from orderflow.messaging.http.pages import Cursors, page
from orderflow.messaging.http.parameters import is_identifier, query_value
from orderflow.messaging.http.preconditions import etag, expected_version, only_new
from orderflow.messaging.http.problems import Problem, problem
from orderflow.messaging.postgres import ConnectionPool, reading, writing
from orderflow.services.inventory import movements, repository
from orderflow.services.inventory.announcements import AnnouncedAlready, NotRetained, announce
from orderflow.services.inventory.model import Movement, Stock
from orderflow.services.inventory.movements import (
    BelowReserved,
    KeyReused,
    Overtaken,
    Receipt,
    StockTake,
    TooMany,
)
from orderflow.services.inventory.openapi import TITLE, document
from orderflow.services.inventory.problem_types import PROBLEM_TYPES
from orderflow.services.inventory.views import (
    MovementPage,
    ReceiptRequest,
    StockPage,
    StockRequest,
    announced_view,
    reservation_view,
    stock_view,
)

PAGE_MAX = 500
LIMIT_DEFAULT = 50
LIMIT = Annotated[int, Meta(ge=1, le=PAGE_MAX)]
SEQUENCE_MAX = 2**63 - 1


def build_api(
    pool: ConnectionPool,
    reasons: Reasons,
    *,
    body_bytes_max: int = BODY_BYTES_MAX,
    announce_every: timedelta = timedelta(0),
) -> ASGIApp:
    stock_takes = msgspec.json.Decoder(StockRequest)
    receipts = msgspec.json.Decoder(ReceiptRequest)

    async def put_stock(request: Request) -> Response:
        body = await read_json(request, stock_takes, limit=body_bytes_max)
        command = StockTake(
            sku=_new_sku(request),
            on_hand=body.on_hand,
            actor=actor_of(request),
            reason=body.reason,
            seen=_seen(request),
        )
        return await run_in_threadpool(_take_stock, pool, command)

    async def post_receipt(request: Request) -> Response:
        body = await read_json(request, receipts, limit=body_bytes_max)
        command = Receipt(
            sku=_new_sku(request),
            quantity=body.quantity,
            key=_receipt_key(request),
            actor=actor_of(request),
            reason=body.reason,
        )
        return await run_in_threadpool(_receive, pool, command)

    routes = [
        Route("/stock", lambda request: _get_page(pool, request), methods=["GET"]),
        Route("/stock/{sku}", lambda request: _get_stock(pool, request), methods=["GET"]),
        Route("/stock/{sku}", put_stock, methods=["PUT"]),
        Route("/stock/{sku}/receipts", post_receipt, methods=["POST"]),
        Route(
            "/stock/{sku}/movements", lambda request: _get_movements(pool, request), methods=["GET"]
        ),
        Route(
            "/reservations/{order_id}",
            lambda request: _get_reservation(pool, request),
            methods=["GET"],
        ),
        Route(
            "/reservations/{order_id}/announce",
            lambda request: _announce(pool, request, every=announce_every),
            methods=["POST"],
        ),
    ]
    return http_api(
        routes, title=TITLE, document=document, reasons=reasons, problem_types=PROBLEM_TYPES
    )


def _get_page(pool: ConnectionPool, request: Request) -> Response:
    query = request.query_params
    after, limit = _STOCKS.read(query) or "", query_value(query, "limit", LIMIT, default=PAGE_MAX)
    with reading(pool) as cursor:
        stocks = repository.stock_page(cursor, after=after, limit=limit + 1)

    shown, next_cursor = page(stocks, limit=limit, cursor_of=lambda stock: _STOCKS.of(stock.sku))
    items = tuple(stock_view(stock) for stock in shown)
    return json_answer(StockPage(items=items, next_cursor=next_cursor))


def _get_stock(pool: ConnectionPool, request: Request) -> Response:
    sku = _sku(request)
    with reading(pool) as cursor:
        stock = repository.find_stock(cursor, sku) if sku else None
    if stock is None:
        raise no_such_sku()
    return _stock_answer(stock)


def _get_movements(pool: ConnectionPool, request: Request) -> Response:
    sku, query = _sku(request), request.query_params
    before = _MOVEMENTS.read(query) or SEQUENCE_MAX
    limit = query_value(query, "limit", LIMIT, default=LIMIT_DEFAULT)

    rows: Sequence[Movement] = ()
    with reading(pool) as cursor:
        if sku is None or repository.find_stock(cursor, sku) is None:
            raise no_such_sku()
        rows = movements.page(cursor, sku, before=int(before), limit=limit + 1)

    shown, next_cursor = page(
        rows, limit=limit, cursor_of=lambda row: _MOVEMENTS.of(str(row.sequence))
    )
    return json_answer(MovementPage(items=tuple(shown), next_cursor=next_cursor))


def _take_stock(pool: ConnectionPool, command: StockTake) -> Response:
    try:
        with writing(pool) as cursor:
            taken = movements.take_stock(cursor, command)
    except Overtaken as error:
        raise overtaken(error) from error
    except BelowReserved as error:
        raise below_reserved(error) from error
    return _stock_answer(taken)


def _receive(pool: ConnectionPool, command: Receipt) -> Response:
    try:
        with writing(pool) as cursor:
            movement = movements.receive(cursor, command)
    except KeyReused as error:
        raise key_reused(error) from error
    except TooMany as error:
        raise too_many(error) from error
    return json_answer(movement, status=201)


def _stock_answer(stock: Stock) -> Response:
    answer = json_answer(stock_view(stock))
    answer.headers["etag"] = etag(stock.movements)
    return answer


def _get_reservation(pool: ConnectionPool, request: Request) -> Response:
    order_id = _order_id(request)
    with reading(pool) as cursor:
        reservation = repository.find_reservation(cursor, order_id)
    if reservation is None:
        raise no_such_reservation()
    return json_answer(reservation_view(reservation))


def _announce(pool: ConnectionPool, request: Request, *, every: timedelta) -> Response:
    order_id = _order_id(request)
    with writing(pool) as cursor:
        try:
            announced = announce(cursor, order_id, every=every)
        except NotRetained as error:
            raise not_retained(error) from error
        except AnnouncedAlready as error:
            raise problems.too_soon(error.wait.total_seconds(), str(error)) from error
    if announced is None:
        raise no_such_reservation()
    return json_answer(announced_view(order_id, announced), status=202)


def _order_id(request: Request) -> OrderId:
    order_id = request.path_params["order_id"]
    if not is_identifier(order_id):
        raise no_such_reservation()
    return known_order_id(order_id)


def no_such_sku() -> Problem:
    return problem(HTTPStatus.NOT_FOUND, "sku-not-found", "There is no such product")


def no_such_reservation() -> Problem:
    return problem(
        HTTPStatus.NOT_FOUND, "reservation-not-found", "Nothing was decided about such an order"
    )


def not_retained(error: NotRetained) -> Problem:
    return problem(
        HTTPStatus.CONFLICT, "not-retained", "There is nothing to announce again", str(error)
    )


def below_reserved(error: BelowReserved) -> Problem:
    return problem(HTTPStatus.CONFLICT, "below-reserved", "More is reserved than that", str(error))


def overtaken(error: Overtaken) -> Problem:
    return problem(
        HTTPStatus.PRECONDITION_FAILED,
        "precondition-failed",
        "The stock is not what the command expects it to be",
        f"{error}: read it, count again",
    )


def precondition_required() -> Problem:
    detail = "If-Match: the ETag of GET /stock/{sku} when it was counted; If-None-Match: * if new"
    return problem(
        HTTPStatus.PRECONDITION_REQUIRED,
        "precondition-required",
        "A stock-take says what it is based on",
        detail,
    )


def key_malformed() -> Problem:
    return problem(
        HTTPStatus.BAD_REQUEST,
        "idempotency-key-malformed",
        "A receipt needs a valid Idempotency-Key",
        "one, of 1 to 255 printable ASCII characters without spaces: the delivery note's number",
    )


def key_reused(error: KeyReused) -> Problem:
    return problem(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "idempotency-key-reused",
        "The Idempotency-Key belongs to another request",
        str(error),
    )


def too_many(error: TooMany) -> Problem:
    return problem(HTTPStatus.CONFLICT, "too-many", "More pieces than can be counted", str(error))


def _seen(request: Request) -> int | None:
    """The last movement that was seen; None: the SKU is new. Raises a problem."""
    seen, is_new = expected_version(request), only_new(request)
    if seen is None and not is_new:
        raise precondition_required()
    if seen is not None and is_new:
        raise problems.invalid("If-Match or If-None-Match, not both: a SKU is new or it is not")
    return seen


def _receipt_key(request: Request) -> str:
    keys = request.headers.getlist("idempotency-key")
    if len(keys) != 1 or not _KEY.fullmatch(keys[0]):
        raise key_malformed()
    return keys[0]


def _new_sku(request: Request) -> Sku:
    if (sku := _sku(request)) is None:
        raise problems.invalid(
            "a SKU is 1 to 64 letters, digits and . _ : @ + -, beginning with a letter or digit"
        )
    return sku


def _sku(request: Request) -> Sku | None:
    sku = request.path_params["sku"]
    return Sku(sku) if is_identifier(sku) else None


_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_STOCKS = Cursors("stock", is_identifier)
_MOVEMENTS = Cursors("stock-movements", re.compile(r"[1-9][0-9]{0,17}").fullmatch)
