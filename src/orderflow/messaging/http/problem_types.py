"""
What each `type` of a problem document means: a page that its address leads to, and a list of all.

A client's developer who follows `/problems/order-not-found` reads what happened and what to do. The
kit has a table of the problems that every service may answer; a service adds its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from http import HTTPStatus

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route


class ProblemType(msgspec.Struct, frozen=True):
    """`slug` never changes its meaning. `meaning`: what happened; `remedy`: what to do about it."""

    slug: str
    status: HTTPStatus
    meaning: str
    remedy: str


COMMON = (
    ProblemType(
        "malformed-request",
        HTTPStatus.BAD_REQUEST,
        "What was sent is not HTTP: mostly an address with characters that are not ASCII, or with "
        "a blank. Nothing was done, and the connection is closed.",
        "Percent-encode the address, as every client's library does.",
    ),
    ProblemType(
        "malformed-json",
        HTTPStatus.BAD_REQUEST,
        "The body is not JSON in UTF-8. Nothing was done.",
        "Send JSON; `detail` says where it ends or breaks.",
    ),
    ProblemType(
        "invalid-request",
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "A field, a query parameter or a header is not what the operation takes. Nothing was done.",
        "Mend what `errors` points at, or `detail` names, and send it again. The same request is "
        "refused every time.",
    ),
    ProblemType(
        "body-too-large",
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        "The body has more bytes than this operation reads. Nothing was done.",
        "Send less; `detail` has the limit.",
    ),
    ProblemType(
        "unsupported-media-type",
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        "The body is not declared as JSON. Nothing was done.",
        "Send `Content-Type: application/json`.",
    ),
    ProblemType(
        "unsupported-content-encoding",
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        "The body is packed. Nothing was done.",
        "Send it as it is, without Content-Encoding.",
    ),
    ProblemType(
        "not-found",
        HTTPStatus.NOT_FOUND,
        "There is nothing under this path.",
        "See /docs for the paths that there are.",
    ),
    ProblemType(
        "method-not-allowed",
        HTTPStatus.METHOD_NOT_ALLOWED,
        "The path takes other methods.",
        "Use one that the header Allow names.",
    ),
    ProblemType(
        "too-soon",
        HTTPStatus.TOO_MANY_REQUESTS,
        "The same was asked for a moment ago, and what comes of it is on its way. Nothing more was "
        "done.",
        "Look whether it has come; ask again after the seconds of Retry-After.",
    ),
    ProblemType(
        "unavailable",
        HTTPStatus.SERVICE_UNAVAILABLE,
        "Something that the service needs is away, or too much waits already. Nothing was done, "
        "or the answer to what was done is lost.",
        "Repeat the same request after the seconds of Retry-After, with the same Idempotency-Key "
        "if it had one: it is done once.",
    ),
    ProblemType(
        "internal-error",
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "Something unexpected happened on our side; the log has it.",
        "Tell whoever operates the service, with the time and with `instance` if there is one.",
    ),
)
"""What any API may answer."""


def problem_pages(types: Iterable[ProblemType] = ()) -> list[Route]:
    """`/problems`, and a page for each of the common types and of these."""
    known = {each.slug: each for each in (*COMMON, *types)}
    listed = _html(
        "Problems", "".join(f'<li><a href="/problems/{slug}">{slug}</a>' for slug in known)
    )

    async def every(_request: Request) -> Response:
        return HTMLResponse(listed)

    async def single(request: Request) -> Response:
        problem_type = known.get(request.path_params["slug"])
        if problem_type is None:
            raise HTTPException(HTTPStatus.NOT_FOUND)
        return HTMLResponse(_page(problem_type))

    return [Route("/problems", every), Route("/problems/{slug}", single)]


def _page(problem_type: ProblemType) -> str:
    status = problem_type.status
    paragraphs = (
        f"Status {int(status)} {status.phrase}",
        problem_type.meaning,
        f"What to do: {problem_type.remedy}",
    )
    return _html(problem_type.slug, "".join(f"<p>{escape(text)}</p>" for text in paragraphs))


def _html(title: str, body: str) -> str:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f"<title>{escape(title)}</title></head><body><h1>{escape(title)}</h1>{body}</body></html>"
    )
