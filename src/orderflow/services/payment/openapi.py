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
from orderflow.services.payment.model import PaymentState
from orderflow.services.payment.views import (
    LIMIT_DEFAULT,
    LIMIT_MAX,
    LedgerSummary,
    OrderPayments,
    PaymentPage,
    WebhookView,
)

TITLE = "Orderflow: payment API"
DESCRIPTION = "What became of payments and refunds. Amounts are in minor units (cents)."

_PAYMENTS: Schema = {
    "orderId": "0198a0b2-1111-7222-8333-444455556666",
    "closed": True,
    "payments": [
        {
            "orderId": "0198a0b2-1111-7222-8333-444455556666",
            "customerId": "customer-123",
            "paymentId": "9d1f5b3e-6f0d-5b0a-8a55-1d0f6f0a7c11",
            "attempt": 1,
            "state": "SUCCEEDED",
            "amountMinor": 4498,
            "currency": "EUR",
            "paymentMethod": "pm_ok",
            "providerReference": "ch_17",
            "reason": None,
            "message": None,
            "createdAt": "2026-01-31T09:05:00.123000Z",
            "unknownSince": None,
            "settledAt": "2026-01-31T09:05:00.231000Z",
            "refund": {
                "refundId": "3c9b0f6e-0b57-5d0c-9b5e-6a5f7a1e2b90",
                "state": "SUCCEEDED",
                "amountMinor": 4498,
                "reason": "CUSTOMER",
                "providerReference": "re_3",
                "createdAt": "2026-01-31T10:15:42.001000Z",
                "settledAt": "2026-01-31T10:15:42.119000Z",
            },
        }
    ],
}
_PAGE: Schema = {"items": _PAYMENTS["payments"], "nextCursor": None}
_SUMMARY: Schema = {
    "items": [
        {
            "currency": "EUR",
            "capturedMinor": 4498,
            "refundedMinor": 4498,
            "netMinor": 0,
            "captures": 1,
            "refunds": 1,
            "failed": 0,
            "unsettled": 0,
            "owedMinor": 0,
            "owed": 0,
            "owedSince": None,
            "unknown": 0,
            "unknownSince": None,
        }
    ]
}
_AWAY = {"503": "The database is away"}


@cache
def document() -> Schema:
    schemas = Schemas(
        OrderPayments,
        PaymentPage,
        LedgerSummary,
        WebhookView,
        uuids=("orderId", "paymentId", "refundId"),
    )

    paths = {
        "/payments": {"get": _list(schemas)},
        "/payments/{orderId}": {
            "get": operation(
                "An order's payments, one for each attempt, with what went back",
                {
                    "200": schemas.answer("The payments", OrderPayments, example=_PAYMENTS),
                    **schemas.problems({"404": "Payment has not heard of this order", **_AWAY}),
                },
                parameters=[path_parameter("orderId", {"type": "string", "format": "uuid"})],
            )
        },
        "/ledger/summary": {
            "get": operation(
                "Our books by currency, to be compared with the provider's",
                {
                    "200": schemas.answer("The sums", LedgerSummary, example=_SUMMARY),
                    **schemas.problems(_AWAY),
                },
            )
        },
        "/webhooks/provider": {
            "post": {
                "operationId": "receiveWebhook",
                **operation(
                    "What the payment provider tells by itself, signed as Standard Webhooks are",
                    {
                        "200": schemas.answer(
                            "It was read: what it did", WebhookView, example={"effect": "settled"}
                        ),
                        **schemas.problems(
                            {
                                "401": "Not signed by the provider, or not within five minutes",
                                "404": "No secret is configured, so no webhook is believed",
                                "413": "The body is too large",
                                "415": "The body is not JSON",
                                "422": "It is signed, and not what was agreed",
                                **_AWAY,
                            }
                        ),
                    },
                ),
            }
        },
    }

    return openapi.document(TITLE, DESCRIPTION, paths=paths, schemas=schemas)


def _list(schemas: Schemas) -> Schema:
    wrong = {
        "422": (
            "customerId, state, limit or cursor is none, "
            "or the state is one that most are in and no customer is named"
        )
    }

    return operation(
        "Payments, those of the newest order first, each with what went back",
        {
            "200": schemas.answer("A page", PaymentPage, example=_PAGE),
            **schemas.problems({**wrong, **_AWAY}),
        },
        parameters=[_CUSTOMER, _STATE, _LIMIT, _CURSOR],
    )


_CUSTOMER = query_parameter("customerId", openapi.IDENTIFIER_SCHEMA, "Only this customer's")
_STATE = query_parameter(
    "state",
    {"type": "string", "enum": [*PaymentState]},
    "Only in this state; without a customer UNKNOWN or FAILED",
)
_LIMIT = query_parameter(
    "limit",
    {"type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "default": LIMIT_DEFAULT},
    "The most in one page",
)
_CURSOR = query_parameter("cursor", {"type": "string"}, "The nextCursor of the page before")
