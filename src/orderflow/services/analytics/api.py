"""The analytics API's route: the funnel."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from orderflow.messaging.documents import openapi
from orderflow.messaging.http import health, problems
from orderflow.messaging.http.health import Reasons, json_answer
from orderflow.messaging.http.parameters import query_value
from orderflow.messaging.postgres import ConnectionPool, unavailable_when_transient
from orderflow.services.analytics import repository
from orderflow.services.analytics.openapi import TITLE, document
from orderflow.services.analytics.views import HOURS, HOURS_DEFAULT, funnel_view


def application(pool: ConnectionPool, reasons: Reasons) -> Starlette:
    def get_funnel(request: Request) -> Response:
        hours = query_value(request.query_params, "hours", HOURS, default=HOURS_DEFAULT)
        with (
            unavailable_when_transient(),
            pool.connection() as connection,
            connection.cursor() as cursor,
        ):
            found = repository.funnel(cursor, hours=hours)
        return json_answer(funnel_view(found))

    app = Starlette(
        routes=[
            Route("/analytics/funnel", get_funnel, methods=["GET"]),
            *health.routes(reasons),
            *openapi.routes(document, title=TITLE),
        ],
        exception_handlers=problems.handlers(),
    )
    app.router.redirect_slashes = False
    return app
