"""`GET /lag`, `/groups`, `/orders/stuck`: what is behind, who works, and which orders wait."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Annotated

from msgspec import Meta
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from orderflow.messaging.http import problems
from orderflow.messaging.http.health import json_answer
from orderflow.messaging.http.pages import Cursors, page
from orderflow.messaging.http.parameters import query_value, refuse_unknown
from orderflow.messaging.kafka.lag_report import GroupReport, Report
from orderflow.services.operations.orders import OrderApi
from orderflow.services.operations.questions import Questions
from orderflow.services.operations.surveys import Surveys
from orderflow.services.operations.views import GroupsPage, group_view, lag_page

LIMIT_DEFAULT = 50
LIMIT_MAX = 100
LIMIT = Annotated[int, Meta(ge=1, le=LIMIT_MAX)]
GROUP = Annotated[str, Meta(min_length=1, max_length=255)]
SURVEY_WITHIN_S = 10.0
ORDERS_WITHIN_S = 8.0
LATE = "the brokers have not answered in time: see /readyz, and ask again"
ORDERS_LATE = "the order service has not answered in time: ask again"


class ClusterRoutes:
    """
    `brokers`: questions on the one thread that has `surveys`. `others`: on threads that may share
    `orders`.
    """

    def __init__(
        self, surveys: Surveys, orders: OrderApi, *, brokers: Questions, others: Questions
    ) -> None:
        self._surveys = surveys
        self._orders = orders
        self._brokers, self._others = brokers, others

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/lag", self.get_lag, methods=["GET"]),
            Route("/groups", self.get_groups, methods=["GET"]),
            Route("/orders/stuck", self.get_stuck_orders, methods=["GET"]),
        ]

    async def get_lag(self, request: Request) -> Response:
        query = request.query_params
        refuse_unknown(query, ("group", "limit", "cursor"))
        name: str | None = query_value(query, "group", GROUP)
        limit, after = _limit(query), _LAGS.read(query)

        report = await self._brokers.ask(self._surveys.report, within_s=SURVEY_WITHIN_S, late=LATE)
        rows = _rows(report, name)
        shown, next_cursor = _page(rows, limit=limit, after=after, cursors=_LAGS)
        return json_answer(lag_page(report, tuple(shown), next_cursor))

    async def get_groups(self, request: Request) -> Response:
        query = request.query_params
        refuse_unknown(query, ("limit", "cursor"))
        limit, after = _limit(query), _GROUPS.read(query)

        report, known = await self._brokers.ask(
            lambda: (self._surveys.report(), self._surveys.memberships()),
            within_s=SURVEY_WITHIN_S,
            late=LATE,
        )
        rows = _rows(report, None)
        shown, next_cursor = _page(rows, limit=limit, after=after, cursors=_GROUPS)
        items = tuple(group_view(row, known) for row in shown)
        return json_answer(GroupsPage(at=report.at, items=items, next_cursor=next_cursor))

    async def get_stuck_orders(self, request: Request) -> Response:
        query = request.query_params
        refuse_unknown(query, ("limit", "cursor"))
        limit, cursor = _limit(query), query.get("cursor")

        orders = await self._others.ask(
            lambda: self._orders.stuck(limit=limit, cursor=cursor),
            within_s=ORDERS_WITHIN_S,
            late=ORDERS_LATE,
        )
        return json_answer(orders)


def _limit(query: QueryParams) -> int:
    limit: int = query_value(query, "limit", LIMIT, default=LIMIT_DEFAULT)
    return limit


def _rows(report: Report, name: str | None) -> Sequence[GroupReport]:
    """By name. Raises a problem (404) if there is no such group."""
    rows = [row for row in report.groups if name in (None, row.group)]
    if name is not None and not rows:
        raise no_such_group()
    return sorted(rows, key=lambda row: row.group)


def _page(
    rows: Sequence[GroupReport], *, limit: int, after: str | None, cursors: Cursors
) -> tuple[Sequence[GroupReport], str | None]:
    left = [row for row in rows if after is None or row.group > after]
    return page(left[: limit + 1], limit=limit, cursor_of=lambda row: cursors.of(row.group))


def no_such_group() -> problems.Problem:
    return problems.problem(
        HTTPStatus.NOT_FOUND,
        "group-not-found",
        "No such group has committed on our topics",
        "see GET /lag for those that have",
    )


_LAGS = Cursors("lag", len)
_GROUPS = Cursors("groups", len)
