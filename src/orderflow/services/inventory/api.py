"""The inventory API: what is on the shelf, and what is reserved for an order."""

from __future__ import annotations

from http import HTTPStatus

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from orderflow.contracts.ids import OrderId, Sku
from orderflow.messaging.http import problems
from orderflow.messaging.http.api import http_api
from orderflow.messaging.http.bodies import BODY_BYTES_MAX, read_json
from orderflow.messaging.http.health import Reasons, json_answer
from orderflow.messaging.http.pages import cursor_value, page
from orderflow.messaging.http.parameters import is_identifier
from orderflow.messaging.http.problems import Problem, problem
from orderflow.messaging.postgres import ConnectionPool, reading, writing
from orderflow.services.inventory import repository
from orderflow.services.inventory.announcements import NotRetained, announce
from orderflow.services.inventory.model import Stock
from orderflow.services.inventory.openapi import TITLE, document
from orderflow.services.inventory.views import (
    StockPage,
    StockRequest,
    announced_view,
    reservation_view,
    stock_view,
)

PAGE_MAX = 500


def build_api(
    pool: ConnectionPool, reasons: Reasons, *, body_bytes_max: int = BODY_BYTES_MAX
) -> ASGIApp:
    decoder = msgspec.json.Decoder(StockRequest)

    async def put_stock(request: Request) -> Response:
        body = await read_json(request, decoder, limit=body_bytes_max)
        if (sku := _sku(request)) is None:
            raise problems.invalid(
                "a SKU is 1 to 64 letters, digits and . _ : @ + -, beginning with a letter or digit"
            )
        return await run_in_threadpool(_put_on_hand, pool, sku, body.on_hand)

    routes = [
        Route("/stock", lambda request: _get_page(pool, request), methods=["GET"]),
        Route("/stock/{sku}", lambda request: _get_stock(pool, request), methods=["GET"]),
        Route("/stock/{sku}", put_stock, methods=["PUT"]),
        Route(
            "/reservations/{order_id}",
            lambda request: _get_reservation(pool, request),
            methods=["GET"],
        ),
        Route(
            "/reservations/{order_id}/announce",
            lambda request: _announce(pool, request),
            methods=["POST"],
        ),
    ]
    return http_api(routes, title=TITLE, document=document, reasons=reasons)


def _get_page(pool: ConnectionPool, request: Request) -> Response:
    after = cursor_value(request.query_params, is_identifier)
    with reading(pool) as cursor:
        stocks = repository.stock_page(cursor, after=after, limit=PAGE_MAX + 1)

    shown, next_cursor = page(stocks, limit=PAGE_MAX, cursor_of=lambda stock: stock.sku)
    items = tuple(stock_view(stock) for stock in shown)
    return json_answer(StockPage(items=items, next_cursor=next_cursor))


def _get_stock(pool: ConnectionPool, request: Request) -> Response:
    sku = _sku(request)
    with reading(pool) as cursor:
        stock = repository.find_stock(cursor, sku) if sku else None
    if stock is None:
        raise no_such_sku()
    return json_answer(stock_view(stock))


def _put_on_hand(pool: ConnectionPool, sku: Sku, on_hand: int) -> Response:
    with writing(pool) as cursor:
        written = repository.put_on_hand(cursor, sku, on_hand)
        if written is None:
            raise below_reserved(sku, on_hand, repository.find_stock(cursor, sku))
    return json_answer(stock_view(written))


def _get_reservation(pool: ConnectionPool, request: Request) -> Response:
    order_id = _order_id(request)
    with reading(pool) as cursor:
        reservation = repository.find_reservation(cursor, order_id)
    if reservation is None:
        raise no_such_reservation()
    return json_answer(reservation_view(reservation))


def _announce(pool: ConnectionPool, request: Request) -> Response:
    order_id = _order_id(request)
    with writing(pool) as cursor:
        try:
            announced = announce(cursor, order_id)
        except NotRetained as error:
            raise not_retained(error) from error
    if announced is None:
        raise no_such_reservation()
    return json_answer(announced_view(order_id, announced), status=202)


def _order_id(request: Request) -> OrderId:
    order_id = request.path_params["order_id"]
    if not is_identifier(order_id):
        raise no_such_reservation()
    return OrderId(order_id)


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


def below_reserved(sku: Sku, on_hand: int, stock: Stock | None) -> Problem:
    reserved = "more" if stock is None else stock.reserved
    detail = (
        f"{reserved} of {sku} are reserved, {on_hand} can't be all there is: ship or release first"
    )
    return problem(HTTPStatus.CONFLICT, "below-reserved", "More is reserved than that", detail)


def _sku(request: Request) -> Sku | None:
    sku = request.path_params["sku"]
    return Sku(sku) if is_identifier(sku) else None
