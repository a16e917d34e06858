"""What the problems of this service mean: the pages under `/problems`."""

from __future__ import annotations

from http import HTTPStatus

from orderflow.messaging.http.problem_types import ProblemType

PROBLEM_TYPES = (
    ProblemType(
        "shipment-not-found",
        HTTPStatus.NOT_FOUND,
        "Nothing was ever to be sent for an order with this id.",
        "Read the order, and what it waits for.",
    ),
)
