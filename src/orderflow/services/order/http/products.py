"""
`/products`: the catalogue as everybody sees it, and the command that changes it.

`PUT` is for operators: a price, a name, a new product, or that a product is withdrawn
(`active: false`). It is in force with its answer, for every order that is placed from then on.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from http import HTTPStatus
from typing import Annotated

import msgspec
from msgspec import Meta
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from orderflow.contracts.currencies import known_currency
from orderflow.contracts.ids import Sku
from orderflow.messaging.http.actor import REASON_LENGTH_MAX, actor_of
from orderflow.messaging.http.bodies import read_json
from orderflow.messaging.http.health import json_answer
from orderflow.messaging.http.pages import Cursors, page
from orderflow.messaging.http.parameters import is_identifier, query_value
from orderflow.messaging.http.preconditions import etag, expected_version, only_new
from orderflow.messaging.http.problems import Problem, invalid, problem
from orderflow.messaging.http.validation import END
from orderflow.messaging.postgres import ConnectionPool, reading, writing
from orderflow.services.order import products
from orderflow.services.order.http.requests import Currency
from orderflow.services.order.products import (
    PRICE_MINOR_MAX,
    ListedProduct,
    Overtaken,
    ProductVersion,
    PutProduct,
)

LIMIT_DEFAULT = 50
LIMIT_MAX = 100
VERSION_MAX = 2**31 - 1

_TEXT = rf"^[^\x00-\x1f\x7f]+{END}"
"""At least one character, none of control: a name is printed, mailed and logged."""


def _text(length_max: int) -> Meta:
    return Meta(
        max_length=length_max,
        pattern=_TEXT,
        description=f"a text of 1 to {length_max} characters, none of them a control character",
    )


class ProductRequest(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True
):
    """
    `prices`: minor units by currency. `active`: false withdraws the product, true brings it back.

    `reason`: why, for the history.
    """

    name: Annotated[str, _text(200)]
    prices: Annotated[
        dict[Currency, Annotated[int, Meta(ge=0, le=PRICE_MINOR_MAX)]],
        Meta(min_length=1, max_length=200),
    ]
    active: bool = True
    reason: Annotated[str, _text(REASON_LENGTH_MAX)] | None = None

    def __post_init__(self) -> None:
        for currency in self.prices:
            known_currency(currency)


class ProductPage(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    items: tuple[ListedProduct, ...]
    next_cursor: str | None


class ProductHistoryPage(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    items: tuple[ProductVersion, ...]
    next_cursor: str | None


class ProductRoutes:
    """The routes of the catalogue."""

    def __init__(self, pool: ConnectionPool, *, body_bytes_max: int) -> None:
        self._pool = pool
        self._body_bytes_max = body_bytes_max
        self._decoder = msgspec.json.Decoder(ProductRequest)

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/products", self.get_page, methods=["GET"]),
            Route("/products/{sku}", self.get, methods=["GET"]),
            Route("/products/{sku}", self.put, methods=["PUT"]),
            Route("/products/{sku}/history", self.get_history, methods=["GET"]),
        ]

    def get_page(self, request: Request) -> Response:
        query = _known(request.query_params)
        after, limit = _SKUS.read(query) or "", _limit(query)
        with reading(self._pool) as cursor:
            rows = products.page(cursor, after=after, limit=limit + 1)

        shown, next_cursor = page(
            rows, limit=limit, cursor_of=lambda product: _SKUS.of(product.sku)
        )
        return json_answer(ProductPage(items=tuple(shown), next_cursor=next_cursor))

    def get(self, request: Request) -> Response:
        sku = _sku(request)
        with reading(self._pool) as cursor:
            product = products.find(cursor, sku) if sku else None
        if product is None:
            raise no_such_product()
        return _answer(product)

    def get_history(self, request: Request) -> Response:
        sku, query = _sku(request), _known(request.query_params)
        before = _VERSIONS.read(query) or VERSION_MAX
        limit = _limit(query)
        rows: Sequence[ProductVersion] = ()
        with reading(self._pool) as cursor:
            if sku is None or products.find(cursor, sku) is None:
                raise no_such_product()
            rows = products.versions(cursor, sku, before=int(before), limit=limit + 1)

        shown, next_cursor = page(
            rows, limit=limit, cursor_of=lambda row: _VERSIONS.of(str(row.version))
        )
        return json_answer(ProductHistoryPage(items=tuple(shown), next_cursor=next_cursor))

    async def put(self, request: Request) -> Response:
        body = await read_json(request, self._decoder, limit=self._body_bytes_max)
        sku = _sku(request)
        if sku is None:
            raise invalid(
                "a SKU is 1 to 64 letters, digits and . _ : @ + -, beginning with a letter or digit"
            )

        command = PutProduct(
            sku=sku,
            name=body.name,
            prices=body.prices,
            active=body.active,
            actor=actor_of(request),
            reason=body.reason,
            expected_version=expected_version(request),
            only_new=only_new(request),
        )
        return await run_in_threadpool(self._put, command)

    def _put(self, command: PutProduct) -> Response:
        try:
            with writing(self._pool) as cursor:
                return _answer(products.put(cursor, command))
        except Overtaken as error:
            raise overtaken(error) from error


def no_such_product() -> Problem:
    return problem(HTTPStatus.NOT_FOUND, "product-not-found", "There is no such product")


def overtaken(error: Overtaken) -> Problem:
    return problem(
        HTTPStatus.PRECONDITION_FAILED,
        "precondition-failed",
        "The product is not what the command expects it to be",
        f"{error}: read it, then decide anew",
    )


def _answer(product: ListedProduct) -> Response:
    answer = json_answer(product)
    answer.headers["etag"] = etag(product.version)
    return answer


def _known(query: QueryParams) -> QueryParams:
    for name, _ in query.multi_items():
        if name not in ("limit", "cursor") or len(query.getlist(name)) > 1:
            raise invalid(f"{name}: there are limit and cursor, each at most once")
    return query


def _limit(query: QueryParams) -> int:
    wanted = Annotated[int, Meta(ge=1, le=LIMIT_MAX)]
    limit: int = query_value(query, "limit", wanted, default=LIMIT_DEFAULT)
    return limit


def _sku(request: Request) -> Sku | None:
    sku = request.path_params["sku"]
    return Sku(sku) if is_identifier(sku) else None


_SKUS = Cursors("products", is_identifier)
_VERSIONS = Cursors("product-history", re.compile(r"[1-9][0-9]{0,8}").fullmatch)
