"""The OpenAPI document, from the same types that answer."""

from __future__ import annotations

from functools import cache

from orderflow.messaging.documents import openapi
from orderflow.messaging.documents.openapi import Schema, Schemas, operation
from orderflow.services.lake.views import SumsView

TITLE = "Orderflow: lake API"

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


@cache
def document() -> Schema:
    schemas = Schemas(SumsView)
    answers = {
        "200": schemas.answer("The sums, from the objects themselves", SumsView, example=_SUMS),
        **schemas.problems({"503": "The store is away, or an object can't be read"}),
    }
    paths = {
        "/lake/payments/sums": {
            "get": operation("What the lake's files of payments add up to", answers)
        }
    }

    return openapi.document(TITLE, paths=paths, schemas=schemas)
