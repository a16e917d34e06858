"""The problems that only the order service has; the others are the kit's."""

from __future__ import annotations

from http import HTTPStatus

import msgspec

from orderflow.messaging.errors import Transient
from orderflow.messaging.http import problems
from orderflow.messaging.http.problems import Problem, problem
from orderflow.services.order.commands import Overtaken
from orderflow.services.order.model import RuleBroken, allowed_actions
from orderflow.services.order.pricing import PriceChanged
from orderflow.services.order.rules import NotAllowed, NothingToRetry


def no_such_order() -> Problem:
    return problem(HTTPStatus.NOT_FOUND, "order-not-found", "There is no such order")


def not_allowed(error: NotAllowed) -> Problem:
    order, allowed = error.order, allowed_actions(error.order)
    return Problem(
        "The order does not allow that now",
        type_="not-allowed",
        detail=str(error),
        status=int(HTTPStatus.CONFLICT),
        orderStatus=order.status,
        allowedActions=allowed,
    )


def overtaken(error: Overtaken) -> Problem:
    return Problem(
        "The order is not what the command expects it to be",
        type_="precondition-failed",
        detail=f"{error}: read it, then decide anew",
        status=int(HTTPStatus.PRECONDITION_FAILED),
        orderStatus=error.order.status,
        allowedActions=allowed_actions(error.order),
    )


def nothing_to_retry(error: NothingToRetry, next_action: str) -> Problem:
    return Problem(
        "There is nothing to be asked for again",
        type_="nothing-to-retry",
        detail=f"{error}; do this instead: {next_action}",
        status=int(HTTPStatus.CONFLICT),
        orderStatus=error.order.status,
        allowedActions=allowed_actions(error.order),
    )


def price_changed(error: PriceChanged) -> Problem:
    """With what the order would cost now, so that the client can show it and order again."""
    return Problem(
        error.title,
        type_=error.slug,
        detail=str(error),
        status=int(HTTPStatus.CONFLICT),
        currency=error.currency,
        amountMinor=error.amount_minor,
        lines=[msgspec.to_builtins(line) for line in error.lines],
    )


def key_malformed() -> Problem:
    detail = "one, of 1 to 255 visible ASCII characters"
    return problem(
        HTTPStatus.BAD_REQUEST,
        "idempotency-key-malformed",
        "The Idempotency-Key is not valid",
        detail,
    )


def key_taken() -> Problem:
    return problem(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "idempotency-key-reused",
        "The Idempotency-Key belongs to another request",
        "this key was used with another body: send the same body, or another key",
    )


def from_error(error: BaseException) -> Problem:
    """The problem that a client gets for `error`."""
    if isinstance(error, PriceChanged):
        return price_changed(error)
    if isinstance(error, RuleBroken):
        return problem(HTTPStatus.UNPROCESSABLE_ENTITY, error.slug, error.title, str(error))
    if isinstance(error, NotAllowed):
        return not_allowed(error)
    if isinstance(error, Overtaken):
        return overtaken(error)
    return problems.from_error(error)


EXPECTED = (RuleBroken, NotAllowed, Overtaken)
"""Answered, and not logged with a traceback."""

EXPECTED_ALL = (*EXPECTED, Problem, Transient)
"""As `EXPECTED`, with those that the kit expects of every service."""
