"""The lake's API: what its files add up to, for processes that read no Parquet."""

from __future__ import annotations

from typing import Protocol

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from orderflow.messaging.http.api import http_api
from orderflow.messaging.http.health import Reasons, json_answer
from orderflow.services.lake.openapi import TITLE, document
from orderflow.services.lake.views import SumsView


class ReadsSums(Protocol):
    """What answers; the real one reads Parquet."""

    def read(self) -> SumsView:
        """What the objects add up to now."""


def build_api(sums: ReadsSums, reasons: Reasons) -> ASGIApp:
    def get_sums(_request: Request) -> Response:
        return json_answer(sums.read())

    routes = [Route("/lake/payments/sums", get_sums, methods=["GET"])]
    return http_api(routes, title=TITLE, document=document, reasons=reasons)
