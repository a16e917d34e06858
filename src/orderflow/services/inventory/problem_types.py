"""What the problems of this service mean: the pages under `/problems`."""

from __future__ import annotations

from http import HTTPStatus

from orderflow.messaging.http.problem_types import ProblemType

PROBLEM_TYPES = (
    ProblemType(
        "reservation-not-found",
        HTTPStatus.NOT_FOUND,
        "Inventory has not decided about an order with this id: it is not paid yet, or "
        "there is none.",
        "Read the order, and what it waits for.",
    ),
    ProblemType(
        "sku-not-found",
        HTTPStatus.NOT_FOUND,
        "Inventory has no such SKU.",
        "Take one of GET /stock.",
    ),
    ProblemType(
        "below-reserved",
        HTTPStatus.CONFLICT,
        "More of this SKU is reserved for orders than would be left. Nothing was written.",
        "Count again; orders that wait for it can be cancelled first.",
    ),
    ProblemType(
        "too-many",
        HTTPStatus.CONFLICT,
        "There would be more of this SKU than can be counted. Nothing was written.",
        "Look at the number.",
    ),
    ProblemType(
        "not-retained",
        HTTPStatus.CONFLICT,
        "The event that was to be announced again is not kept any more, or there never was one.",
        "Read the reservation; its state is what was decided.",
    ),
    ProblemType(
        "precondition-failed",
        HTTPStatus.PRECONDITION_FAILED,
        "The stock has changed since it was counted. Nothing was written.",
        "Read it, count again, and send the new ETag.",
    ),
    ProblemType(
        "precondition-required",
        HTTPStatus.PRECONDITION_REQUIRED,
        "A stock-take says what it is based on. Nothing was written.",
        "Read the stock, and send its ETag as If-Match.",
    ),
    ProblemType(
        "idempotency-key-malformed",
        HTTPStatus.BAD_REQUEST,
        "A receipt needs an Idempotency-Key of 1 to 255 printable ASCII characters. Nothing "
        "was booked.",
        "Send the delivery note's number, for instance.",
    ),
    ProblemType(
        "idempotency-key-reused",
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "The Idempotency-Key belongs to another receipt. Nothing was booked.",
        "Send the first receipt again as it was, or another key.",
    ),
)
