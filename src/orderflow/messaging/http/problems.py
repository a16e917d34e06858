"""
Problem documents, the same from every service.

A `type` never changes its meaning; clients may switch on it. A service translates its own errors
(broken rules) before `from_error`, and gives that function to `http_api`. A problem contains
nothing of our insides: neither a driver's message nor an address. Source: RFC 9457.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus
from math import ceil

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette_problem.error import Problem

from orderflow.messaging.error_text import error_text
from orderflow.messaging.errors import Contention, Transient
from orderflow.messaging.http.validation import FieldError
from orderflow.messaging.postgres.group_commit import Expired, QueueFull
from orderflow.messaging.telemetry import logger
from orderflow.messaging.telemetry.trace_context import TraceContext

__all__ = [
    "Problem",
    "document",
    "from_error",
    "handlers",
    "invalid",
    "invalid_fields",
    "malformed",
    "problem",
    "unavailable",
]

CONTENT_TYPE = "application/problem+json"
URI = "/problems/{type}"
INSTANCE = "/traces/{trace_id}"
RETRY_AFTER_S = 2
HELD = "others hold what this request needs, and nothing of it was done: repeat it"
AWAY = (
    "the database is away, or its answer was lost: "
    "repeat the request, with the same Idempotency-Key if any"
)

FromError = Callable[[BaseException], Problem]
Handler = Callable[[Request, Exception], Awaitable[Response]]

log = logger("http")


def problem(
    status: HTTPStatus, slug: str, title: str, detail: str | None = None, **headers: str
) -> Problem:
    """A problem, to be raised or answered. `headers` by their names, with `_` for `-`."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Problem(title, type_=slug, detail=detail, status=int(status), headers=named)


def malformed(detail: str) -> Problem:
    return problem(HTTPStatus.BAD_REQUEST, "malformed-json", "The body is not JSON", detail)


def malformed_request() -> Problem:
    return problem(
        HTTPStatus.BAD_REQUEST,
        "malformed-request",
        "The request is not HTTP",
        "an address is ASCII: other characters are percent-encoded, as UTF-8; "
        "so are blanks, as %20",
    )


def invalid(detail: str) -> Problem:
    return problem(
        HTTPStatus.UNPROCESSABLE_ENTITY, "invalid-request", "The request is not valid", detail
    )


def invalid_fields(errors: Sequence[FieldError]) -> Problem:
    """All that is wrong with a body; `detail` has it as sentences, `errors` field by field."""
    sentences = (f"{error.pointer[2:] or 'the body'} {error.detail}" for error in errors)
    return Problem(
        "The request is not valid",
        type_="invalid-request",
        detail="; ".join(sentences),
        status=int(HTTPStatus.UNPROCESSABLE_ENTITY),
        errors=[msgspec.to_builtins(error) for error in errors],
    )


def too_large(limit: int) -> Problem:
    detail = f"at most {limit} bytes"
    return problem(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        "body-too-large",
        "The body is too large",
        detail,
        Connection="close",
    )


def unsupported_media_type() -> Problem:
    detail = "send Content-Type: application/json"
    return problem(
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", "The body must be JSON", detail
    )


def unsupported_encoding() -> Problem:
    return problem(
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        "unsupported-content-encoding",
        "The body must be sent as it is",
        "send it without Content-Encoding",
        Accept_Encoding="identity",
    )


def too_soon(wait_s: float, detail: str) -> Problem:
    """`wait_s`: after how long the same request is taken."""
    return problem(
        HTTPStatus.TOO_MANY_REQUESTS,
        "too-soon",
        "The same was asked for a moment ago",
        detail,
        Retry_After=str(max(1, ceil(wait_s))),
    )


def unavailable(detail: str) -> Problem:
    return problem(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "unavailable",
        "The service can't take this request now",
        detail,
        Retry_After=str(RETRY_AFTER_S),
    )


def from_error(error: BaseException) -> Problem:
    """The problem that a client gets for `error`. An unexpected error is logged, and is 500."""
    match error:
        case Problem():
            return error
        case QueueFull():
            return unavailable("too many requests wait already")
        case Expired():
            return unavailable("the request waited too long, and nothing of it was done: repeat it")
        case Transient():
            return unavailable(HELD if isinstance(error, Contention) else AWAY)
        case HTTPException():
            slug = HTTPStatus(error.status_code).phrase.lower().replace(" ", "-")
            return Problem(
                error.detail,
                type_=slug,
                status=error.status_code,
                headers=dict(error.headers or {}),
            )

    log.error("request failed", error=error_text(error))
    return problem(
        HTTPStatus.INTERNAL_SERVER_ERROR, "internal-error", "Something went wrong on our side"
    )


def document(
    problem: Problem, *, trace: TraceContext | None = None
) -> tuple[int, bytes, list[tuple[bytes, bytes]]]:
    """
    Status, body and headers of a problem document. `trace`: the request's; its id is the problem's
    `instance`, by which `orderflow trace` and the logs lead on.
    """
    content = problem.marshal(uri=URI)
    if trace is not None:
        content["instance"] = INSTANCE.format(trace_id=trace.trace_id)
    body = msgspec.json.encode(content)

    headers = {
        "content-type": CONTENT_TYPE,
        "content-length": str(len(body)),
        **(problem.headers or {}),
    }
    return (
        problem.status,
        body,
        [(name.lower().encode(), value.encode()) for name, value in headers.items()],
    )


def handlers(
    *expected: type[Exception], translate: FromError = from_error
) -> dict[type[Exception], Handler]:
    """
    Exception handlers for Starlette.

    The types of `expected` errors are named, so that only others are logged with a traceback.
    """

    async def handle(request: Request, error: Exception) -> Response:
        trace = TraceContext.parse(request.headers.get("traceparent"))
        status, body, headers = document(translate(error), trace=trace)
        response = Response(body, status)
        response.raw_headers = headers
        return response

    return dict.fromkeys((HTTPException, Problem, Transient, *expected, Exception), handle)
