"""The OpenAPI document, from the same types that answer."""

from __future__ import annotations

from functools import cache

from orderflow.messaging.documents import openapi
from orderflow.messaging.documents.openapi import Schema, Schemas, operation, query_parameter
from orderflow.services.analytics.views import HOURS_DEFAULT, HOURS_MAX, FunnelView

TITLE = "Orderflow: analytics API"
DESCRIPTION = (
    "How orders move through their life: how many are where, go on, and how long they stay."
)

_FUNNEL: Schema = {
    "orders": 100,
    "current": {"CREATED": 8, "PAID": 12, "SHIPPED": 20, "DELIVERED": 54, "CANCELLED": 6},
    "entered": {"CREATED": 100, "PAID": 90, "SHIPPED": 74, "DELIVERED": 54, "CANCELLED": 6},
    "conversion": [
        {"from": "CREATED", "to": "PAID", "orders": 90, "share": 0.9},
        {"from": "CREATED", "to": "CANCELLED", "orders": 2, "share": 0.02},
        {"from": "PAID", "to": "SHIPPED", "orders": 74, "share": 0.8222},
        {"from": "PAID", "to": "CANCELLED", "orders": 4, "share": 0.0444},
        {"from": "SHIPPED", "to": "DELIVERED", "orders": 54, "share": 0.7297},
    ],
    "timeInState": {
        "CREATED": {"orders": 92, "p50S": 0.214, "p95S": 1.871},
        "PAID": {"orders": 78, "p50S": 5400.0, "p95S": 86400.25},
        "SHIPPED": {"orders": 54, "p50S": 172800.0, "p95S": 259200.0},
    },
    "byHour": [
        {"hour": "2026-01-31T09:00:00Z", "status": "CREATED", "count": 100},
        {"hour": "2026-01-31T09:00:00Z", "status": "PAID", "count": 90},
    ],
    "lastEventAt": "2026-01-31T09:59:12.007000Z",
}


@cache
def document() -> Schema:
    schemas = Schemas(FunnelView)
    paths = {
        "/analytics/funnel": {
            "get": operation(
                "How many orders are where, go on, and how long they stay",
                {
                    "200": schemas.answer(
                        "The funnel, all of one moment", FunnelView, example=_FUNNEL
                    ),
                    **schemas.problems({"422": "hours is none", "503": "The database is away"}),
                },
                parameters=[_HOURS],
            )
        }
    }

    return openapi.document(TITLE, DESCRIPTION, paths=paths, schemas=schemas)


_HOURS = query_parameter(
    "hours",
    {"type": "integer", "minimum": 1, "maximum": HOURS_MAX, "default": HOURS_DEFAULT},
    "How many hours, back from that of the last event, byHour has",
)
