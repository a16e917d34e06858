"""The OpenAPI document, from the same types that parse and answer."""

from __future__ import annotations

from functools import cache

from orderflow.messaging.documents import openapi
from orderflow.messaging.documents.openapi import Schema, Schemas, operation, query_parameter
from orderflow.neighbours.mail.faults import Faults
from orderflow.neighbours.mail.views import MessagePage, Totals

TITLE = "Orderflow: mail sink"
DESCRIPTION = "The mails that customers would have got, and how the sink misbehaves when asked to."

_ORDER = "0198a0b2-1111-7222-8333-444455556666"
_MESSAGES: Schema = {
    "items": [
        {
            "number": 1,
            "at": "2026-01-31T09:05:00.187000Z",
            "messageId": "3f0d8a52-6f5c-5c5e-9d6c-7d1c2c1f5a11@orderflow.example",
            "sender": "orders@orderflow.example",
            "to": ["customer-123@customers.example"],
            "subject": f"Your order {_ORDER} was received",
            "text": "Thank you.",
            "orderId": _ORDER,
            "customerId": "customer-123",
            "offered": 1,
        }
    ],
    "nextCursor": None,
}
_FAULTS: Schema = {
    "temporary": 0.1,
    "temporaryFor": [],
    "permanentFor": ["customer-7@customers.example"],
    "replyLost": 0.0,
    "latencyS": 0.0,
}
_WRONG = {
    "400": "The body is not JSON",
    "413": "The body is too large",
    "415": "The body is not declared as JSON",
    "422": "A field is unknown or wrong",
}


@cache
def document() -> Schema:
    schemas = Schemas(MessagePage, Totals, Faults)
    faults = schemas.answer("The faults from now on", Faults, example=_FAULTS)

    paths = {
        "/messages": {
            "get": operation(
                "Accepted mails, oldest first, a page at a time",
                {
                    "200": schemas.answer("A page", MessagePage, example=_MESSAGES),
                    **schemas.problems({"422": "cursor is none"}),
                },
                parameters=[
                    query_parameter("orderId", {"type": "string"}, "About this order"),
                    query_parameter("customerId", {"type": "string"}, "To this customer"),
                    query_parameter(
                        "cursor", {"type": "string"}, "The nextCursor of the page before"
                    ),
                ],
            )
        },
        "/totals": {
            "get": operation(
                "How many mails were accepted, and how many offered",
                {
                    "200": schemas.answer(
                        "Since ever", Totals, example={"accepted": 1, "offered": 1}
                    )
                },
            )
        },
        "/faults": {
            "get": operation("How the sink misbehaves", {"200": faults}),
            "put": {
                **operation(
                    "For operators: have the sink misbehave; what is not sent is off",
                    {"200": faults, **schemas.problems(_WRONG)},
                ),
                "requestBody": schemas.request(Faults, example=_FAULTS),
            },
        },
    }

    return openapi.document(TITLE, DESCRIPTION, paths=paths, schemas=schemas)
