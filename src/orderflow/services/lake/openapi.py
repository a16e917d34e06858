"""The OpenAPI document, from the same types that answer."""

from __future__ import annotations

from functools import cache

from orderflow.messaging.documents import openapi
from orderflow.messaging.documents.openapi import Schema, Schemas, operation, query_parameter
from orderflow.services.lake.views import RowsView, SumsView

TITLE = "Orderflow: lake API"
DESCRIPTION = "What the files of the lake contain, read from the files themselves."
OFFSETS_MAX = 2_000
"""Of which one answer has the rows."""

_SUMS: Schema = {
    "objects": 6,
    "rows": 112,
    "events": 112,
    "payments": 102,
    "totals": [
        {"currency": "EUR", "status": "CAPTURED", "count": 97, "amountMinor": 1_259_903},
        {"currency": "EUR", "status": "FAILED", "count": 5, "amountMinor": 64_950},
        {"currency": "EUR", "status": "REFUNDED", "count": 10, "amountMinor": 129_900},
    ],
    "lastOffsets": {"payments-0": 61, "payments-1": 48, "payments-2": 39},
}


_ROWS: Schema = {
    "rows": [
        {
            "offset": 61,
            "eventId": "0e8d8a52-6f4b-5a53-9f0c-2f6d0c8e4a11",
            "type": "PaymentSucceeded",
            "orderId": "019ac5d2-6c4e-7b1a-9d3f-2f6d0c8e4a10",
            "paymentId": "5d6c7a1e-3f60-5b43-8a15-5a2b9c1d7e20",
            "refundId": None,
            "amountMinor": 12_990,
            "currency": "EUR",
        }
    ]
}
_OFFSET: Schema = {"type": "integer", "minimum": 0, "default": 0}


@cache
def document() -> Schema:
    schemas = Schemas(SumsView, RowsView, uuids=("eventId", "orderId", "paymentId", "refundId"))
    answers = {
        "200": schemas.answer("The sums, from the objects themselves", SumsView, example=_SUMS),
        **schemas.problems({"503": "The store is away, or an object can't be read"}),
    }
    rows = {
        "200": schemas.answer("The rows, from the objects themselves", RowsView, example=_ROWS),
        **schemas.problems(
            {"422": "A parameter", "503": "The store is away, or an object can't be read"}
        ),
    }
    paths = {
        "/lake/payments": {
            "get": operation(
                "The rows of some offsets",
                rows,
                parameters=[
                    query_parameter("partition", _OFFSET, "Of `payments`"),
                    query_parameter("first", _OFFSET, "The first offset"),
                    query_parameter(
                        "end",
                        {"type": "integer", "minimum": 0},
                        f"The offset after the last one: at most {OFFSETS_MAX:,} above `first`",
                    ),
                ],
            )
        },
        "/lake/payments/sums": {
            "get": operation("What the lake's files of payments add up to", answers)
        },
    }

    return openapi.document(TITLE, DESCRIPTION, paths=paths, schemas=schemas)
