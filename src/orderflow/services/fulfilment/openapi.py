"""The OpenAPI document, from the same types that answer."""

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
from orderflow.services.fulfilment.model import ShipmentStatus
from orderflow.services.fulfilment.views import LIMIT_DEFAULT, LIMIT_MAX, ShipmentPage, ShipmentView

TITLE = "Orderflow: fulfilment API"
DESCRIPTION = "The shipments of orders: what has to be sent, and what became of it."

_ORDER = "0198a0b2-1111-7222-8333-444455556666"
_SHIPMENT: Schema = {
    "orderId": _ORDER,
    "customerId": "customer-123",
    "status": "TRACKED",
    "version": 3,
    "reason": None,
    "preparedAt": "2026-01-31T09:05:00.123000Z",
    "trackedAt": "2026-01-31T15:40:12.007000Z",
    "closedAt": None,
    "calledOffAt": None,
    "paidAt": "2026-01-31T09:05:00.123000Z",
    "reservedAt": "2026-01-31T09:05:00.091000Z",
    "lines": [{"sku": "MOUSE-01", "quantity": 2}],
}
_AWAY = {"503": "The database is away"}


@cache
def document() -> Schema:
    schemas = Schemas(ShipmentView, ShipmentPage, uuids=("orderId",))
    wrong = {"422": "customerId, status, limit or cursor is none"}

    paths = {
        "/shipments": {
            "get": operation(
                "Shipments, newest order first",
                {
                    "200": schemas.answer(
                        "A page", ShipmentPage, example={"items": [_SHIPMENT], "nextCursor": None}
                    ),
                    **schemas.problems({**wrong, **_AWAY}),
                },
                parameters=[_CUSTOMER, _STATUS, _LIMIT, _CURSOR],
            )
        },
        "/shipments/{orderId}": {
            "get": operation(
                "The shipment of an order",
                {
                    "200": schemas.answer("The shipment", ShipmentView, example=_SHIPMENT),
                    **schemas.problems(
                        {"404": "Nothing was ever to be sent for such an order", **_AWAY}
                    ),
                },
                parameters=[path_parameter("orderId", {"type": "string", "format": "uuid"})],
            )
        },
    }

    return openapi.document(TITLE, DESCRIPTION, paths=paths, schemas=schemas)


_CUSTOMER = query_parameter("customerId", openapi.IDENTIFIER_SCHEMA, "Only this customer's")
_STATUS = query_parameter(
    "status",
    {"type": "array", "items": {"type": "string", "enum": [*ShipmentStatus]}},
    "Only in one of these; repeated, or separated by commas",
)
_LIMIT = query_parameter(
    "limit",
    {"type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "default": LIMIT_DEFAULT},
    "The most in one page",
)
_CURSOR = query_parameter("cursor", {"type": "string"}, "The nextCursor of the page before")
