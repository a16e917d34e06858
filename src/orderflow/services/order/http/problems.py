"""The problems that only the order service has; the others are the kit's."""

from __future__ import annotations

from http import HTTPStatus

from orderflow.messaging.http import problems
from orderflow.messaging.http.problems import Problem, problem
from orderflow.services.order.model import RuleBroken, allowed_actions
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


def nothing_to_retry(error: NothingToRetry, next_action: str) -> Problem:
    return Problem(
        "There is nothing to be asked for again",
        type_="nothing-to-retry",
        detail=f"{error}; do this instead: {next_action}",
        status=int(HTTPStatus.CONFLICT),
        orderStatus=error.order.status,
        allowedActions=allowed_actions(error.order),
    )


def key_malformed() -> Problem:
    detail = "1 to 255 visible ASCII characters"
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
    """What a client is told of `error`; nothing of our insides."""
    if isinstance(error, RuleBroken):
        return problem(HTTPStatus.UNPROCESSABLE_ENTITY, error.slug, error.title, str(error))
    if isinstance(error, NotAllowed):
        return not_allowed(error)
    return problems.from_error(error)


EXPECTED = (RuleBroken, NotAllowed)
"""Broken rules: answered, and not logged with a traceback."""
