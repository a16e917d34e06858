"""The inventory API's routes: what is on the shelf, and what is kept for an order."""

from __future__ import annotations

import re
from http import HTTPStatus

import msgspec
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from orderflow.contracts.ids import OrderId, Sku
from orderflow.messaging.documents import openapi
from orderflow.messaging.http import health, problems
from orderflow.messaging.http.bodies import read_json
from orderflow.messaging.http.health import Reasons, json_answer
from orderflow.messaging.http.problems import Problem, problem
from orderflow.messaging.postgres import ConnectionPool, unavailable_when_transient
from orderflow.services.inventory import repository
from orderflow.services.inventory.model import Stock
from orderflow.services.inventory.openapi import TITLE, document
from orderflow.services.inventory.views import StockPage, StockRequest, reservation_view, stock_view

PAGE_MAX = 500


def application(pool: ConnectionPool, *, reasons: Reasons, body_bytes_max: int) -> Starlette:
    app = Starlette(
        routes=[
            *_routes(pool, body_bytes_max),
            *health.routes(reasons),
            *openapi.routes(document, title=TITLE),
        ],
        exception_handlers=problems.handlers(),
    )
    app.router.redirect_slashes = False
    return app


def _routes(pool: ConnectionPool, body_bytes_max: int) -> list[BaseRoute]:
    decoder = msgspec.json.Decoder(StockRequest)

    def get_page(request: Request) -> Response:
        cursor_at = request.query_params.get("cursor", "")
        if cursor_at and not _SKU.fullmatch(cursor_at):
            raise problems.invalid("cursor is the nextCursor of the page before")
        with (
            unavailable_when_transient(),
            pool.connection() as connection,
            connection.cursor() as cursor,
        ):
            found = repository.stock_page(cursor, after=cursor_at, limit=PAGE_MAX + 1)
        items = tuple(stock_view(one) for one in found[:PAGE_MAX])
        return json_answer(
            StockPage(items=items, next_cursor=items[-1].sku if len(found) > PAGE_MAX else None)
        )

    def get_stock(request: Request) -> Response:
        sku = _sku(request)
        with (
            unavailable_when_transient(),
            pool.connection() as connection,
            connection.cursor() as cursor,
        ):
            found = repository.find_stock(cursor, sku) if sku else None
        if found is None:
            raise no_such_sku()
        return json_answer(stock_view(found))

    def put(sku: Sku, on_hand: int) -> Response:
        with (
            unavailable_when_transient(),
            pool.connection() as connection,
            connection.cursor() as cursor,
        ):
            written = repository.put_on_hand(cursor, sku, on_hand)
            if written is None:
                raise below_reserved(sku, on_hand, repository.find_stock(cursor, sku))
        return json_answer(stock_view(written))

    async def put_stock(request: Request) -> Response:
        asked = await read_json(request, decoder, limit=body_bytes_max)
        if (sku := _sku(request)) is None:
            raise problems.invalid(
                "a SKU is 1 to 64 letters, digits and . _ : @ + -, beginning with a letter or digit"
            )
        return await run_in_threadpool(put, sku, asked.on_hand)

    def get_reservation(request: Request) -> Response:
        order_id = request.path_params["order_id"]
        with (
            unavailable_when_transient(),
            pool.connection() as connection,
            connection.cursor() as cursor,
        ):
            found = (
                repository.find_reservation(cursor, OrderId(order_id))
                if _SKU.fullmatch(order_id)
                else None
            )
        if found is None:
            raise no_such_reservation()
        return json_answer(reservation_view(found))

    return [
        Route("/stock", get_page, methods=["GET"]),
        Route("/stock/{sku}", get_stock, methods=["GET"]),
        Route("/stock/{sku}", put_stock, methods=["PUT"]),
        Route("/reservations/{order_id}", get_reservation, methods=["GET"]),
    ]


def no_such_sku() -> Problem:
    return problem(HTTPStatus.NOT_FOUND, "sku-not-found", "There is no such product")


def no_such_reservation() -> Problem:
    return problem(
        HTTPStatus.NOT_FOUND, "reservation-not-found", "Nothing was decided about such an order"
    )


def below_reserved(sku: Sku, on_hand: int, found: Stock | None) -> Problem:
    reserved = "more" if found is None else found.reserved
    detail = (
        f"{reserved} of {sku} are reserved, {on_hand} can't be all there is: ship or release first"
    )
    return problem(HTTPStatus.CONFLICT, "below-reserved", "More is reserved than that", detail)


def _sku(request: Request) -> Sku | None:
    sku = request.path_params["sku"]
    return Sku(sku) if _SKU.fullmatch(sku) else None


_SKU = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@+-]{0,63}")
"""What the order API takes for a SKU, too; order ids look like it."""
