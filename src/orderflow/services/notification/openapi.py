"""The OpenAPI document of the notification API."""

from __future__ import annotations

from functools import cache

from orderflow.messaging.documents import openapi
from orderflow.messaging.documents.openapi import Schema, Schemas, operation, query_parameter
from orderflow.services.notification.model import NotificationState
from orderflow.services.notification.views import LIMIT, LIMIT_MAX, NotificationPage

TITLE = "Orderflow: notification API"
DESCRIPTION = "What customers were told about their orders, and what waits to be told."

_ORDER = "019ac5d2-6c4e-7b1a-9d3f-2f6d0c8e4a10"
_EXAMPLE = {
    "items": [
        {
            "notificationId": "3f0d8a52-6f5c-5c5e-9d6c-7d1c2c1f5a11",
            "customerId": "customer-123",
            "orderId": _ORDER,
            "kind": "ORDER_CREATED",
            "channel": "EMAIL",
            "state": "SENT",
            "sequence": 1,
            "attempts": 1,
            "reason": None,
            "subject": f"Your order {_ORDER} was received",
            "causeId": "019ac5d2-6c4e-7b1a-9d3f-2f6d0c8e4a11",
            "causeType": "orderflow.OrderCreated",
            "createdAt": "2026-01-31T09:05:00.123Z",
            "occurredAt": "2026-01-31T09:05:00.187Z",
        }
    ],
    "nextCursor": None,
}


@cache
def document() -> Schema:
    schemas = Schemas(NotificationPage, uuids=("notificationId", "orderId"))
    answers = {
        "200": schemas.answer(
            "Told, waiting, held, overtaken and failed: of an order or a customer in the order of "
            "telling, else the newest first",
            NotificationPage,
            example=_EXAMPLE,
        ),
        **schemas.problems(
            {
                "422": (
                    "An order and a customer, or neither and not a state that few are in; "
                    "or state, cursor or limit is none"
                ),
                "503": "The database is away",
            }
        ),
    }

    listing = operation(
        "What the customer of an order, or a customer, was told; or what is in a state",
        answers,
        parameters=[_ID, _CUSTOMER, _STATE, _CURSOR, _LIMIT],
    )
    return openapi.document(
        TITLE, DESCRIPTION, paths={"/notifications": {"get": listing}}, schemas=schemas
    )


_ID = query_parameter("orderId", {"type": "string"}, "Only this order's; not with customerId")
_CUSTOMER = query_parameter("customerId", {"type": "string"}, "Only this customer's")
_STATE = query_parameter(
    "state",
    {"type": "string", "enum": [*NotificationState]},
    "Only in this state; required, and not SENT, without an order or a customer",
)
_CURSOR = query_parameter("cursor", {"type": "string"}, "The nextCursor of the page before")
_LIMIT = query_parameter(
    "limit",
    {"type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "default": LIMIT},
    "The most items of one page",
)
