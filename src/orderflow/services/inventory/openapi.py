"""The OpenAPI document, from the same types that parse and answer."""

from __future__ import annotations

from functools import cache

from orderflow.messaging.documents import openapi
from orderflow.messaging.documents.openapi import (
    Schema,
    Schemas,
    operation,
    path_parameter,
    query_parameter,
)
from orderflow.services.inventory.views import (
    AnnouncedView,
    ReservationView,
    StockPage,
    StockRequest,
    StockView,
)

TITLE = "Orderflow: inventory API"

_STOCK: Schema = {"sku": "MOUSE-01", "onHand": 100, "reserved": 4, "available": 96, "shipped": 31}
_RESERVATION: Schema = {
    "orderId": "0198a0b2-1111-7222-8333-444455556666",
    "customerId": "customer-123",
    "paymentId": "9d1f5b3e-6f0d-5b0a-8a55-1d0f6f0a7c11",
    "status": "RESERVED",
    "lines": [{"sku": "MOUSE-01", "quantity": 2}],
}
_ANNOUNCED: Schema = {
    "orderId": _RESERVATION["orderId"],
    "events": [{"eventId": "5b0a8a55-1d0f-5f0a-9c11-9d1f5b3e6f0d", "eventType": "StockReserved"}],
}
_AWAY = {"503": "The database is away"}
_NO_SUCH = {"404": "There is no such product"}


@cache
def document() -> Schema:
    schemas = Schemas(StockRequest, StockView, StockPage, ReservationView, AnnouncedView)
    paths = {
        "/stock": {"get": _get_page(schemas)},
        "/stock/{sku}": {
            "get": operation(
                "One product on the shelf",
                {
                    "200": schemas.answer("The product", StockView, example=_STOCK),
                    **schemas.problems({**_NO_SUCH, **_AWAY}),
                },
                parameters=[_SKU],
            ),
            "put": _put(schemas),
        },
        "/reservations/{orderId}": {"get": _get_reservation(schemas)},
        "/reservations/{orderId}/announce": {"post": _announce(schemas)},
    }

    return openapi.document(TITLE, paths=paths, schemas=schemas)


def _get_page(schemas: Schemas) -> Schema:
    return operation(
        "What is on the shelf, by SKU",
        {
            "200": schemas.answer(
                "A page", StockPage, example={"items": [_STOCK], "nextCursor": None}
            ),
            **schemas.problems({"422": "cursor is none", **_AWAY}),
        },
        parameters=[_CURSOR],
    )


def _get_reservation(schemas: Schemas) -> Schema:
    return operation(
        "What is kept for an order, or was",
        {
            "200": schemas.answer("The reservation", ReservationView, example=_RESERVATION),
            **schemas.problems({"404": "Nothing was decided about such an order", **_AWAY}),
        },
        parameters=[path_parameter("orderId", {"type": "string"})],
    )


def _announce(schemas: Schemas) -> Schema:
    return operation(
        "For operators: publish again what was decided about an order, with the same event ids",
        {
            "202": schemas.answer(
                "The events that go out again", AnnouncedView, example=_ANNOUNCED
            ),
            **schemas.problems(
                {
                    "404": "Nothing was decided about such an order",
                    "409": "The events are not retained any more",
                    **_AWAY,
                }
            ),
        },
        parameters=[path_parameter("orderId", {"type": "string"})],
    )


def _put(schemas: Schemas) -> Schema:
    refused = {
        "400": "The body is not JSON",
        "409": "More is reserved than that",
        "413": "The body is too long",
        "415": "The body is not declared as application/json",
        "422": "A field is unknown or wrong, or the SKU can be none",
        "503": (
            "Somebody holds the product's row, or the database is away: "
            "try again after Retry-After seconds"
        ),
    }

    return {
        **operation(
            "Set how much of a product there is now, reserved pieces included, or add a product",
            {
                "200": schemas.answer("As it is now", StockView, example=_STOCK),
                **schemas.problems(refused),
            },
            parameters=[_SKU],
        ),
        "requestBody": schemas.request(StockRequest, example={"onHand": 100}),
    }


_SKU = path_parameter("sku", {"type": "string", "maxLength": 64})
_CURSOR = query_parameter("cursor", {"type": "string"}, "The nextCursor of the page before")
