"""What the problems of this service mean: the pages under `/problems`."""

from __future__ import annotations

from http import HTTPStatus

from orderflow.messaging.http.problem_types import ProblemType

PROBLEM_TYPES = (
    ProblemType(
        "order-not-found",
        HTTPStatus.NOT_FOUND,
        "Payment has not heard of an order with this id.",
        "Look at the id; a new order takes a moment to arrive here.",
    ),
    ProblemType(
        "webhooks-not-configured",
        HTTPStatus.NOT_FOUND,
        "No secret is set, so no webhook is believed. Nothing was done.",
        "Set ORDERFLOW_PAYMENT__PSP__WEBHOOK_SECRETS; the provider sends it again.",
    ),
    ProblemType(
        "webhook-not-authentic",
        HTTPStatus.UNAUTHORIZED,
        "The webhook is not signed with our secret, or older than five minutes. Nothing was done.",
        "Compare the secrets and the clocks of both sides.",
    ),
)
