"""What the problems of this service mean: the pages under `/problems`."""

from __future__ import annotations

from http import HTTPStatus

from orderflow.messaging.http.problem_types import ProblemType

PROBLEM_TYPES = (
    ProblemType(
        "order-not-found",
        HTTPStatus.NOT_FOUND,
        "There is no order with this id, or it is another customer's than `customerId` says.",
        "Look at the id, and at `customerId` if it was given.",
    ),
    ProblemType(
        "unknown-sku",
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "A line names a product that is not in the catalogue. Nothing was ordered.",
        "Take one of GET /products.",
    ),
    ProblemType(
        "no-price",
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "A product has no price in the currency of the order. Nothing was ordered.",
        "Order in a currency that GET /products/{sku} has a price in.",
    ),
    ProblemType(
        "repeated-sku",
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "Two lines name the same product. Nothing was ordered.",
        "Send one line with the sum of the quantities.",
    ),
    ProblemType(
        "amount-too-large",
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "The order costs more than an order may. Nothing was ordered.",
        "Order less, or in parts.",
    ),
    ProblemType(
        "rule-broken",
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "The order breaks a rule, which `detail` names. Nothing was ordered.",
        "Mend what `detail` names.",
    ),
    ProblemType(
        "payment-method-missing",
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "A new payment needs a payment method, and the order has none. Nothing was done.",
        "Send `paymentMethod`.",
    ),
    ProblemType(
        "price-changed",
        HTTPStatus.CONFLICT,
        "The order costs something else than `expectedAmountMinor` says. Nothing was "
        "ordered, and the Idempotency-Key is free.",
        "Show the client `amountMinor` and `lines`, then order again with the new amount.",
    ),
    ProblemType(
        "not-allowed",
        HTTPStatus.CONFLICT,
        "The order is in a state in which this command is not allowed. Nothing was done.",
        "Read `orderStatus`, and do one of `allowedActions`.",
    ),
    ProblemType(
        "nothing-to-retry",
        HTTPStatus.CONFLICT,
        "The order waits for nothing that can be asked for again. Nothing was done.",
        "`detail` says what to do instead.",
    ),
    ProblemType(
        "precondition-failed",
        HTTPStatus.PRECONDITION_FAILED,
        "The order or the product has changed since it was read: If-Match, or the expected "
        "status, does not fit. Nothing was done.",
        "Read it, and decide anew.",
    ),
    ProblemType(
        "idempotency-key-malformed",
        HTTPStatus.BAD_REQUEST,
        "The header Idempotency-Key is not one key of 1 to 255 visible ASCII characters. "
        "Nothing was done.",
        "Send one such key, a UUID for instance.",
    ),
    ProblemType(
        "idempotency-key-reused",
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "The Idempotency-Key was used with another request within 24 hours. Nothing was done.",
        "Send the first request again as it was, or another key.",
    ),
    ProblemType(
        "product-not-found",
        HTTPStatus.NOT_FOUND,
        "The catalogue has no such product.",
        "Take one of GET /products.",
    ),
)
