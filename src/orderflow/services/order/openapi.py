"""The OpenAPI document, from the same types that parse and answer."""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec

import orderflow
from orderflow.contracts.events import OrderStatus
from orderflow.services.order.model import Action
from orderflow.services.order.requests import OrderRequest, ShortOrderRequest
from orderflow.services.order.views import HistoryPage, OrderView, ProductPage

Schema = dict[str, Any]


class ProblemDocument(msgspec.Struct, kw_only=True, omit_defaults=True):
    """RFC 9457. `type` is stable: `/problems/<slug>`."""

    type: str
    title: str
    status: int
    detail: str = ""


class ConflictDocument(ProblemDocument, kw_only=True, omit_defaults=True):
    """What the order is instead, and what it allows."""

    order_status: OrderStatus = msgspec.field(name="orderStatus")
    allowed_actions: tuple[Action, ...] = msgspec.field(name="allowedActions")


_EXAMPLES: dict[type, Schema] = {
    OrderRequest: {"customerId": "customer-123", "lines": [{"sku": "KEYBOARD-01", "quantity": 2}]},
    ShortOrderRequest: {"customerId": "customer-123"},
}
_PROBLEMS = {
    "400": "The body is not JSON, or the Idempotency-Key is malformed",
    "413": "The body is longer than 64 KiB",
    "415": "The body is not declared as application/json",
    "422": "A field is unknown or wrong, a rule is broken, or the Idempotency-Key belongs to another body",
    "503": "Starting, too busy, or the database is away: try again after Retry-After seconds",
}


@cache
def document() -> Schema:
    types = (OrderRequest, ShortOrderRequest, OrderView, HistoryPage, ProductPage, ProblemDocument, ConflictDocument)
    references, components = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    schema = dict(zip(types, references, strict=True))
    problem = {"application/problem+json": {"schema": schema[ProblemDocument]}}
    posted = {
        path: {"post": _post(schema, request, summary, problem)}
        for path, request, summary in (
            ("/orders", OrderRequest, "Place an order; its first payment is asked for at once"),
            ("/api/orders", ShortOrderRequest, "Place an order in the short form; nothing is charged until asked"),
        )
    }
    conflict = {"application/problem+json": {"schema": schema[ConflictDocument]}}
    no_such = {"404": {"description": "There is no such order", "content": problem}}
    away = {"503": {"description": "The database is away", "content": problem}}
    cancel = {
        "summary": "Cancel an order that has not left the house; what was paid is refunded",
        "parameters": [_ORDER_ID, _CUSTOMER_ID],
        "responses": {
            "200": {
                "description": "Cancelled",
                "content": {"application/json": {"schema": schema[OrderView]}},
            },
            "404": {"description": "There is no such order, or it is not this customer's", "content": problem},
            "409": {"description": "The order's status does not allow it", "content": conflict},
            "503": {"description": "Starting, or the database is away", "content": problem},
        },
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Orderflow: order API",
            "version": orderflow.__version__,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": {
            **posted,
            "/orders/{orderId}": {
                "get": _get("An order", schema[OrderView], {**no_such, **away}, parameters=[_ORDER_ID])
            },
            "/orders/{orderId}/history": {
                "get": _get(
                    "An order's status changes, oldest first; with all=true every revision",
                    schema[HistoryPage],
                    {**no_such, **away, "422": {"description": "all is neither true nor false", "content": problem}},
                    parameters=[_ORDER_ID, _ALL],
                )
            },
            "/orders/{orderId}/cancel": {"post": cancel},
            "/api/orders/{orderId}/cancel": {"post": cancel},
            "/products": {"get": _get("The catalogue, prices in minor units", schema[ProductPage], away)},
            "/livez": {"get": _plain("The process runs", "text/plain")},
            "/readyz": {
                "get": _get(
                    "Whether orders can be taken, and if not, why",
                    _READINESS,
                    {"503": {"description": "Not ready", "content": {"application/json": {"schema": _READINESS}}}},
                )
            },
            "/metrics": {"get": _plain("Prometheus metrics", "text/plain")},
            "/openapi.json": {"get": _plain("This document", "application/json")},
            "/docs": {"get": _plain("This document, for people", "text/html")},
        },
        "components": {"schemas": components},
    }


def _post(schema: dict[Any, Schema], request: type, summary: str, problem: Schema) -> Schema:
    body = {"schema": schema[request], "example": _EXAMPLES[request]}
    created = {
        "description": "Placed: the order is committed, its events will be on Kafka",
        "headers": {"Location": {"schema": {"type": "string"}, "description": "/orders/{orderId}"}},
        "content": {"application/json": {"schema": schema[OrderView]}},
    }
    return {
        "summary": summary,
        "parameters": [_IDEMPOTENCY_KEY],
        "requestBody": {"required": True, "content": {"application/json": body}},
        "responses": {
            "201": created,
            **{code: {"description": why, "content": problem} for code, why in _PROBLEMS.items()},
        },
    }


def _get(summary: str, answer: Schema, others: Schema, *, parameters: list[Schema] | None = None) -> Schema:
    ok = {"description": summary, "content": {"application/json": {"schema": answer}}}
    return {"summary": summary, "parameters": parameters or [], "responses": {"200": ok, **others}}


def _plain(summary: str, media_type: str) -> Schema:
    return {"summary": summary, "responses": {"200": {"description": summary, "content": {media_type: {}}}}}


_ORDER_ID = {"name": "orderId", "in": "path", "required": True, "schema": {"type": "string", "format": "uuid"}}
_CUSTOMER_ID = {
    "name": "customerId",
    "in": "query",
    "schema": {"type": "string"},
    "description": "If given, the order must be this customer's",
}
_ALL = {"name": "all", "in": "query", "schema": {"type": "boolean", "default": False}}
_IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
    "description": "The same key and body give the first answer again for 24 hours; another body is 422",
}
_READINESS = {
    "type": "object",
    "required": ["ready", "reasons"],
    "properties": {"ready": {"type": "boolean"}, "reasons": {"type": "array", "items": {"type": "string"}}},
}
