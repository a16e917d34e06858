"""The analytics API: the funnel."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from orderflow.messaging.http.api import http_api
from orderflow.messaging.http.health import Reasons, json_answer
from orderflow.messaging.http.parameters import query_value
from orderflow.messaging.postgres import ConnectionPool, reading
from orderflow.services.analytics import repository
from orderflow.services.analytics.openapi import TITLE, document
from orderflow.services.analytics.views import HOURS, HOURS_DEFAULT, funnel_view


def build_api(pool: ConnectionPool, reasons: Reasons) -> ASGIApp:
    def get_funnel(request: Request) -> Response:
        hours = query_value(request.query_params, "hours", HOURS, default=HOURS_DEFAULT)
        with reading(pool) as cursor:
            funnel = repository.funnel(cursor, hours=hours)
        return json_answer(funnel_view(funnel))

    routes = [Route("/analytics/funnel", get_funnel, methods=["GET"])]
    return http_api(routes, title=TITLE, document=document, reasons=reasons)
