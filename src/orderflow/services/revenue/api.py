"""The revenue API: what customers brought in, and what came in hour by hour."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import TypeVar

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from orderflow.contracts.currencies import is_currency
from orderflow.contracts.events import RevenueByCustomer, RevenueByHour
from orderflow.messaging.http import problems
from orderflow.messaging.http.api import http_api
from orderflow.messaging.http.health import Reasons, json_answer
from orderflow.messaging.http.parameters import is_identifier, query_moment, query_value
from orderflow.messaging.schemas.avro import Decoder
from orderflow.messaging.streams.interactive_queries import LIMIT_MAX, Queries
from orderflow.services.revenue.model import HOURS as WINDOWS
from orderflow.services.revenue.openapi import TITLE, document
from orderflow.services.revenue.problem_types import PROBLEM_TYPES
from orderflow.services.revenue.topology import CUSTOMERS, HOURS
from orderflow.services.revenue.views import (
    DAYS_MAX,
    HOURS_DEFAULT,
    TOP,
    TOP_DEFAULT,
    CustomerView,
    HoursView,
    TopView,
    hour_view,
    ranked,
)

T = TypeVar("T", RevenueByCustomer, RevenueByHour)


def build_api(queries: Queries, decoder: Decoder, reasons: Reasons) -> ASGIApp:
    def get_customer(request: Request) -> Response:
        customer_id = request.path_params["customer_id"]
        minimum = queries.min_position(request.query_params)
        if not is_identifier(customer_id):
            raise _no_revenue()

        value, freshness = queries.get(CUSTOMERS.name, customer_id.encode(), minimum=minimum)
        if value is None:
            raise _no_revenue()
        revenue = decoder.decode_as(value, RevenueByCustomer)
        return json_answer(
            CustomerView(
                customer_id=revenue.customer_id,
                totals=revenue.totals,
                updated_at=revenue.updated_at,
                freshness=freshness,
            )
        )

    def get_top(request: Request) -> Response:
        query = request.query_params
        top = query_value(query, "top", TOP, default=TOP_DEFAULT)
        currency = _currency(query)
        minimum = queries.min_position(query)

        entries, freshness = queries.top(CUSTOMERS.name, currency, top, minimum=minimum)
        customers = [decoder.decode_as(entry.value, RevenueByCustomer) for entry in entries]
        items = sorted(
            (ranked(revenue, currency) for revenue in customers),
            key=lambda item: (-item.totals.net_minor, item.customer_id),
        )
        return json_answer(
            TopView(currency=currency, items=tuple(items[:top]), freshness=tuple(freshness))
        )

    def get_hours(request: Request) -> Response:
        query = request.query_params
        first, last = _range(query)
        minimum = queries.min_position(query)

        entries, freshness = queries.between(
            HOURS.name, _hour(first), _hour(last), LIMIT_MAX, minimum=minimum
        )
        items = tuple(hour_view(decoder.decode_as(e.value, RevenueByHour)) for e in entries)
        return json_answer(HoursView(items=items, freshness=tuple(freshness)))

    routes = [
        Route("/revenue", get_top, methods=["GET"]),
        Route("/revenue/hours", get_hours, methods=["GET"]),
        Route("/revenue/{customer_id}", get_customer, methods=["GET"]),
        *queries.routes(),
    ]
    return http_api(
        routes, title=TITLE, document=document, reasons=reasons, problem_types=PROBLEM_TYPES
    )


def _currency(query: QueryParams) -> str:
    currency = query.get("currency", "")
    if not is_currency(currency):
        raise problems.invalid("currency: name one, by its ISO 4217 code, as EUR")
    return currency


def _range(query: QueryParams) -> tuple[datetime, datetime]:
    """`from` and `to`, the last 24 hours by default. The hour that contains `from` is in it."""
    last = _moment(query, "to", lambda: datetime.now(UTC) + WINDOWS.size)
    first = _moment(query, "from", lambda: last - timedelta(hours=HOURS_DEFAULT))
    if not first < last <= first + timedelta(days=DAYS_MAX):
        raise problems.invalid(f"from is before to, at most {DAYS_MAX} days")
    return first, last


def _moment(query: QueryParams, name: str, default: Callable[[], datetime]) -> datetime:
    moment = query_moment(query, name)
    return default() if moment is None else moment


def _hour(moment: datetime) -> bytes:
    """The first key of the hour that contains `moment`: keys begin with their hour."""
    return f"{WINDOWS.start_of(moment):%Y-%m-%dT%H}".encode()


def _no_revenue() -> problems.Problem:
    return problems.problem(
        HTTPStatus.NOT_FOUND, "no-revenue", "Nothing was ever captured from such a customer"
    )
