"""`GET /books`: what the last audit found."""

from __future__ import annotations

from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated

import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from orderflow.books.report import (
    DIFFERENCES_MAX,
    MEANINGS,
    Awaited,
    BooksReport,
    Check,
    CopyState,
    Difference,
    Explained,
    Verdict,
)
from orderflow.messaging.http import problems
from orderflow.messaging.http.health import json_answer
from orderflow.messaging.http.parameters import query_choice, query_value, refuse_unknown
from orderflow.services.operations.auditor import LastAudit

LIMIT_DEFAULT = 100
LIMIT = Annotated[int, Meta(ge=1, le=DIFFERENCES_MAX)]
RETRY_AFTER_S = 10


class CheckView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One check: how many subjects were compared, and how they are."""

    check: Check
    meaning: str
    checked: int
    differences: int
    in_flight: int
    explained: int


class DifferenceView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Two sides that do not agree about `subject` `id`. `command`: what shows more."""

    check: Check
    subject: str
    id: str
    expected: str
    actual: str
    command: str


class ExplainedView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A difference with a known reason."""

    difference: DifferenceView
    reason: str


class AwaitedView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """For whom that which is in flight still waits, and how much of it."""

    who: str
    what: str
    accounts: int


class CopyView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """
    A copy of the payments, `warehouse` or `lake`. AWAY: it could not be asked, and `why`; ABSENT:
    this system has none.
    """

    name: str
    state: CopyState
    why: str


class BooksView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """
    The last audit. `missing`: why there is no newer one; empty if all is well. Counts are exact;
    lists hold the first ones. `compared` of `orders` were compared in this run. `repeats`: events
    that are on their topics once more, which readers absorb. `copies`: whether warehouse and lake
    were compared, too.
    """

    verdict: Verdict
    at: datetime
    age_s: float
    duration_s: float
    missing: str
    is_full: bool
    orders: int
    compared: int
    checks: tuple[CheckView, ...]
    differences: tuple[DifferenceView, ...]
    in_flight: tuple[DifferenceView, ...]
    explained: tuple[ExplainedView, ...]
    awaited: tuple[AwaitedView, ...]
    repeats: int
    positions: dict[str, int]
    copies: tuple[CopyView, ...]
    notes: tuple[str, ...]


class BooksRoutes:
    """The books as the auditor of this process has found them; nobody is asked."""

    def __init__(self, last: LastAudit) -> None:
        self._last = last

    def routes(self) -> list[BaseRoute]:
        return [Route("/books", self.get_books, methods=["GET"])]

    async def get_books(self, request: Request) -> Response:
        query = request.query_params
        refuse_unknown(query, ("check", "limit"))
        check = query_choice(query, "check", Check)
        limit = query_value(query, "limit", LIMIT, default=LIMIT_DEFAULT)

        report = self._last.report
        if report is None:
            raise not_audited(self._last.missing)
        return json_answer(books_view(report, self._last.missing, check=check, limit=limit))


def books_view(report: BooksReport, missing: str, *, check: Check | None, limit: int) -> BooksView:
    def shown(rows: tuple[Difference, ...]) -> tuple[DifferenceView, ...]:
        fitting = [row for row in rows if check in (None, row.check)]
        return tuple(_difference(row) for row in fitting[:limit])

    return BooksView(
        verdict=report.verdict,
        at=report.at,
        age_s=round(max(0.0, (datetime.now(UTC) - report.at).total_seconds()), 1),
        duration_s=round(report.duration_s, 3),
        missing=missing,
        is_full=report.is_full,
        orders=report.orders,
        compared=report.compared,
        checks=tuple(
            CheckView(
                check=row.check,
                meaning=MEANINGS[row.check],
                checked=row.checked,
                differences=row.differences,
                in_flight=row.in_flight,
                explained=row.explained,
            )
            for row in report.checks
            if check in (None, row.check)
        ),
        differences=shown(report.differences),
        in_flight=shown(report.in_flight),
        explained=_explained(report.explained, check, limit),
        awaited=tuple(_awaited(row) for row in report.awaited[:limit]),
        repeats=report.repeats,
        positions=dict(report.positions),
        copies=tuple(
            CopyView(name=copy.name, state=copy.state, why=copy.why) for copy in report.copies
        ),
        notes=report.notes,
    )


def _explained(
    rows: tuple[Explained, ...], check: Check | None, limit: int
) -> tuple[ExplainedView, ...]:
    fitting = [row for row in rows if check in (None, row.difference.check)]
    return tuple(
        ExplainedView(difference=_difference(row.difference), reason=row.reason)
        for row in fitting[:limit]
    )


def _difference(row: Difference) -> DifferenceView:
    return DifferenceView(
        check=row.check,
        subject=row.subject,
        id=row.id,
        expected=row.expected,
        actual=row.actual,
        command=row.command,
    )


def _awaited(row: Awaited) -> AwaitedView:
    return AwaitedView(who=row.who, what=row.what, accounts=row.accounts)


def not_audited(why: str) -> problems.Problem:
    return problems.problem(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "books-not-audited",
        "The books have not been audited yet",
        why,
        Retry_After=str(RETRY_AFTER_S),
    )
