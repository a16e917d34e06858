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
from orderflow.messaging.streams.interactive_queries import PATH, Part, PauseRequest, PauseView
from orderflow.services.revenue.views import (
    DAYS_MAX,
    TOP_DEFAULT,
    TOP_MAX,
    CustomerView,
    HoursView,
    TopView,
)

TITLE = "Orderflow: revenue API"
DESCRIPTION = (
    "Net revenue by customer and by hour, from the payments themselves. Each answer says how "
    "fresh it is; minPosition waits until it has what the client has written."
)

_AT = "2026-01-31T09:05:00.123000Z"
_TOTALS = {
    "capturedMinor": 12_990,
    "refundedMinor": 2_500,
    "netMinor": 10_490,
    "payments": 3,
    "refunds": 1,
}


def _fresh(topic: str) -> Schema:
    return {
        "partition": 1,
        "position": f"revenue-service-{topic}-repartition-1:5231",
        "completeAt": _AT,
        "behindMs": 410,
        "instance": "revenue-0",
        "state": "ACTIVE",
    }


_CUSTOMER: Schema = {
    "customerId": "customer-123",
    "totals": {"EUR": _TOTALS},
    "updatedAt": _AT,
    "freshness": _fresh("by-customer"),
}
_TOP: Schema = {
    "currency": "EUR",
    "items": [{"customerId": "customer-123", "totals": _TOTALS, "updatedAt": _AT}],
    "freshness": [_fresh("by-customer")],
}
_HOURS: Schema = {
    "items": [
        {
            "hour": "2026-01-31T09:00:00Z",
            "currency": "EUR",
            "totals": _TOTALS,
            "updatedAt": _AT,
        }
    ],
    "freshness": [_fresh("by-hour")],
}
_AWAY = {
    "503": "Nobody has this part now, it is being restored, or minPosition was not reached in 10 s"
}
_MIN_POSITION = query_parameter(
    "minPosition",
    {"type": "string", "pattern": r"^payments-\d+:\d+$", "examples": ["payments-1:1234"]},
    "Wait until all payments below this offset are in the answer, 10 s at most",
)


def _moment(name: str, description: str) -> Schema:
    return query_parameter(name, {"type": "string", "format": "date-time"}, description)


def _between_instances(schemas: Schemas) -> Schema:
    """What instances ask each other: nothing that a client needs."""
    example = {
        "entries": [{"key": "Y3VzdG9tZXItMTIz", "value": "AAAAAAE="}],
        "freshness": [_fresh("by-customer")],
    }
    answers = {
        "200": schemas.answer("This instance's part", Part, example=example),
        **schemas.problems({"404": "There is no such table", "422": "Not valid", **_AWAY}),
    }
    table = path_parameter("table", {"type": "string"})
    limit = query_parameter("limit", {"type": "integer", "minimum": 1}, "The most entries")
    parts = query_parameter(
        "partition",
        {"type": "array", "items": {"type": "string"}},
        "<number>:<offset>, repeated: the parts that are wanted, and what they must contain",
    )

    asked_for = {
        "": ("one key", [_hex("key")]),
        "/top": ("by rank", [query_parameter("rank", {"type": "string"}, "Which rank"), limit]),
        "/range": ("a range of keys", [_hex("first"), _hex("last"), limit]),
    }
    return {
        f"{PATH}/{{table}}{suffix}": {
            "get": operation(
                f"Between instances: {what}", answers, parameters=[table, parts, *parameters]
            )
        }
        for suffix, (what, parameters) in asked_for.items()
    }


def _hex(name: str) -> Schema:
    return query_parameter(name, {"type": "string"}, "A key's bytes, in hexadecimal digits")


def _pause(schemas: Schemas) -> Schema:
    example = {"instance": "revenue-0", "paused": True}
    answers = {
        "200": schemas.answer("It stands still, and answers go on", PauseView, example=example),
        **schemas.problems(
            {
                "400": "The body is not JSON",
                "413": "The body is too large",
                "415": "The body is not declared as JSON",
                "422": "The body or the actor is not valid",
                "503": "It did not come to rest in time; it will",
            }
        ),
    }

    asked_for = {"seconds": 60.0, "reason": "the totals are rebuilt"}
    return {
        **operation(
            "Operators: let this instance's listener stand still for a while",
            answers,
            parameters=[openapi.ACTOR],
        ),
        "requestBody": schemas.request(PauseRequest, example=asked_for),
    }


def _resume(schemas: Schemas) -> Schema:
    example = {"instance": "revenue-0", "paused": False}
    answers = {
        "200": schemas.answer("It goes on", PauseView, example=example),
        **schemas.problems({"422": "The actor is not valid"}),
    }
    return operation("Operators: end the pause", answers, parameters=[openapi.ACTOR])


@cache
def document() -> Schema:
    schemas = Schemas(CustomerView, TopView, HoursView, Part, PauseRequest, PauseView)
    paths = {
        "/revenue/{customer_id}": {
            "get": operation(
                "What a customer brought in, by currency",
                {
                    "200": schemas.answer("The totals", CustomerView, example=_CUSTOMER),
                    **schemas.problems(
                        {
                            "404": "Nothing was ever captured from such a customer",
                            "422": "A parameter is not valid",
                            **_AWAY,
                        }
                    ),
                },
                parameters=[path_parameter("customer_id", {"type": "string"}), _MIN_POSITION],
            )
        },
        "/revenue": {
            "get": operation(
                "The customers with the highest net revenue",
                {
                    "200": schemas.answer("Highest first", TopView, example=_TOP),
                    **schemas.problems({"422": "A parameter is not valid", **_AWAY}),
                },
                parameters=[
                    query_parameter(
                        "top",
                        {
                            "type": "integer",
                            "minimum": 1,
                            "maximum": TOP_MAX,
                            "default": TOP_DEFAULT,
                        },
                        "How many",
                    ),
                    {
                        **query_parameter(
                            "currency", {"type": "string", "examples": ["EUR"]}, "ISO 4217"
                        ),
                        "required": True,
                    },
                    _MIN_POSITION,
                ],
            )
        },
        "/revenue/hours": {
            "get": operation(
                "What came in, hour by hour of event time",
                {
                    "200": schemas.answer("Oldest first", HoursView, example=_HOURS),
                    **schemas.problems({"422": "A parameter is not valid", **_AWAY}),
                },
                parameters=[
                    _moment("from", "The first hour is the one that contains it; 24 h before to"),
                    _moment("to", f"Not in it; now. At most {DAYS_MAX} days after from"),
                    _MIN_POSITION,
                ],
            )
        },
        **_between_instances(schemas),
        f"{PATH}/pause": {"post": _pause(schemas)},
        f"{PATH}/resume": {"post": _resume(schemas)},
    }

    return openapi.document(TITLE, DESCRIPTION, paths=paths, schemas=schemas)
