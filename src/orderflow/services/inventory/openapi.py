"""The OpenAPI document, from the same types that parse and answer."""

from __future__ import annotations

from functools import cache

from orderflow.messaging.documents import openapi
from orderflow.messaging.documents.openapi import (
    Schema,
    Schemas,
    header_parameter,
    operation,
    path_parameter,
    query_parameter,
)
from orderflow.services.inventory.model import Movement
from orderflow.services.inventory.views import (
    AnnouncedView,
    MovementPage,
    ReceiptRequest,
    ReservationView,
    StockPage,
    StockRequest,
    StockView,
)

TITLE = "Orderflow: inventory API"
DESCRIPTION = (
    "Stock, its movements, and what is kept for orders. A change of stock is a stock-take (PUT,"
    " with the ETag that was counted against) or a receipt (POST, with the number of its "
    "delivery note)."
)

_STOCK: Schema = {
    "sku": "MOUSE-01",
    "onHand": 100,
    "reserved": 4,
    "available": 96,
    "shipped": 31,
    "received": 132,
    "corrected": -1,
    "movements": 20,
}
_MOVEMENT: Schema = {
    "sku": "MOUSE-01",
    "sequence": 20,
    "kind": "RECEIPT",
    "quantity": 50,
    "onHand": 100,
    "orderId": None,
    "receiptKey": "delivery-note-4711",
    "actor": "clerk-7",
    "reason": None,
    "occurredAt": "2026-01-31T09:05:00.123000Z",
}
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
    schemas = Schemas(
        StockRequest,
        ReceiptRequest,
        StockView,
        StockPage,
        Movement,
        MovementPage,
        ReservationView,
        AnnouncedView,
        uuids=("orderId", "paymentId", "eventId"),
    )
    paths = {
        "/stock": {"get": _get_page(schemas)},
        "/stock/{sku}": {
            "get": operation(
                "One product on the shelf",
                {
                    "200": _stock(schemas, "The product"),
                    **schemas.problems({**_NO_SUCH, **_AWAY}),
                },
                parameters=[_SKU],
            ),
            "put": _put(schemas),
        },
        "/stock/{sku}/receipts": {"post": _post_receipt(schemas)},
        "/stock/{sku}/movements": {"get": _get_movements(schemas)},
        "/reservations/{orderId}": {"get": _get_reservation(schemas)},
        "/reservations/{orderId}/announce": {"post": _announce(schemas)},
    }

    return openapi.document(TITLE, DESCRIPTION, paths=paths, schemas=schemas)


def _get_page(schemas: Schemas) -> Schema:
    return operation(
        "What is on the shelf, by SKU",
        {
            "200": schemas.answer(
                "A page", StockPage, example={"items": [_STOCK], "nextCursor": None}
            ),
            **schemas.problems({"422": "limit or cursor is none", **_AWAY}),
        },
        parameters=[_stocks_limit(), _CURSOR],
    )


def _stocks_limit() -> Schema:
    return {**_LIMIT, "schema": {**_LIMIT["schema"], "default": 500}}


def _get_reservation(schemas: Schemas) -> Schema:
    return operation(
        "What is kept for an order, or was",
        {
            "200": schemas.answer("The reservation", ReservationView, example=_RESERVATION),
            **schemas.problems({"404": "Nothing was decided about such an order", **_AWAY}),
        },
        parameters=[path_parameter("orderId", openapi.UUID_SCHEMA)],
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
                    "429": "They went out again a moment ago",
                    **_AWAY,
                }
            ),
        },
        parameters=[path_parameter("orderId", openapi.UUID_SCHEMA)],
    )


def _put(schemas: Schemas) -> Schema:
    refused = {
        **_BODY,
        "409": "More is reserved than that",
        "412": "Pieces moved since they were counted, or there is one, or none, against the header",
        "422": "A field or header is unknown or wrong, or the SKU can be none",
        "428": "Neither If-Match nor If-None-Match was sent",
        **_HELD,
    }

    return {
        **operation(
            "Record a stock-take: how much of a product was counted, reserved pieces included; or "
            "add a product. The difference is a movement, even if there is none",
            {"200": _stock(schemas, "As it is now"), **schemas.problems(refused)},
            parameters=[_SKU, openapi.ACTOR, _IF_MATCH, _IF_NONE_MATCH],
        ),
        "requestBody": schemas.request(StockRequest, example={"onHand": 100}),
    }


def _post_receipt(schemas: Schemas) -> Schema:
    refused = {
        **_BODY,
        "400": "The body is not JSON, or there is no valid Idempotency-Key",
        "409": "More pieces would be there than can be counted",
        "422": (
            "A field or header is unknown or wrong, the SKU can be none, or the Idempotency-Key "
            "belongs to another receipt"
        ),
        **_HELD,
    }

    return {
        "operationId": "recordReceipt",
        **operation(
            "Record pieces that came in, of a new product too",
            {
                "201": schemas.answer("The movement", Movement, example=_MOVEMENT),
                **schemas.problems(refused),
            },
            parameters=[_SKU, openapi.ACTOR, _IDEMPOTENCY_KEY],
        ),
        "requestBody": schemas.request(ReceiptRequest, example={"quantity": 50}),
    }


def _get_movements(schemas: Schemas) -> Schema:
    return operation(
        "Every change of what is on hand of a product, the newest first",
        {
            "200": schemas.answer(
                "A page", MovementPage, example={"items": [_MOVEMENT], "nextCursor": None}
            ),
            **schemas.problems({**_NO_SUCH, "422": "limit or cursor is none", **_AWAY}),
        },
        parameters=[_SKU, _LIMIT, _CURSOR],
    )


def _stock(schemas: Schemas, description: str) -> Schema:
    return {
        **schemas.answer(description, StockView, example=_STOCK),
        "headers": {
            "ETag": {"schema": {"type": "string"}, "description": "The number of its movements"}
        },
    }


_BODY = {
    "400": "The body is not JSON",
    "413": "The body is too long",
    "415": "The body is not declared as application/json",
}
_HELD = {
    "503": (
        "Somebody holds the product's row, or the database is away: "
        "try again after Retry-After seconds"
    ),
}
_IF_MATCH = header_parameter(
    "If-Match",
    {"type": "string"},
    "The ETag when the pieces were counted: 412 if any moved since",
)
_IF_NONE_MATCH = header_parameter(
    "If-None-Match",
    {"type": "string", "enum": ["*"]},
    "Instead of If-Match, for a product that is new: 412 if there is one",
)
_IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": True,
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
    "description": (
        "One receipt of this product, for good: repeated, it gets the first answer again; another "
        "body is 422. The number of the delivery note, for example"
    ),
}
_LIMIT = query_parameter(
    "limit",
    {"type": "integer", "minimum": 1, "maximum": 500, "default": 50},
    "The most in one page",
)
_SKU = path_parameter("sku", openapi.IDENTIFIER_SCHEMA)
_CURSOR = query_parameter("cursor", {"type": "string"}, "The nextCursor of the page before")
