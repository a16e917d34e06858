"""The lake's API: what its files have, for processes that read no Parquet."""

from __future__ import annotations

from typing import Annotated, NamedTuple, Protocol

from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from orderflow.messaging.http import problems
from orderflow.messaging.http.api import http_api
from orderflow.messaging.http.health import Reasons, json_answer
from orderflow.messaging.http.parameters import query_value, refuse_unknown
from orderflow.services.lake.openapi import OFFSETS_MAX, TITLE, document
from orderflow.services.lake.views import RowsView, SumsView

OFFSET = Annotated[int, Meta(ge=0, le=2**62)]
PARTITION = Annotated[int, Meta(ge=0, le=100_000)]


class ReadsSums(Protocol):
    """What answers; the real one reads Parquet."""

    def read(self) -> SumsView:
        """What the objects add up to now."""


class ReadsRows(Protocol):
    """What answers; the real one reads Parquet."""

    def read(self, partition: int, first: int, end: int) -> RowsView:
        """Every row with an offset from `first` to before `end`."""


class Readers(NamedTuple):
    """What the API reads the objects by."""

    sums: ReadsSums
    rows: ReadsRows


def build_api(readers: Readers, reasons: Reasons) -> ASGIApp:
    def get_sums(_request: Request) -> Response:
        return json_answer(readers.sums.read())

    def get_rows(request: Request) -> Response:
        query = request.query_params
        refuse_unknown(query, ("partition", "first", "end"))
        partition = query_value(query, "partition", PARTITION, default=0)
        first = query_value(query, "first", OFFSET, default=0)
        end = query_value(query, "end", OFFSET, default=first + OFFSETS_MAX)
        if not first <= end <= first + OFFSETS_MAX:
            raise problems.invalid(f"end is at most {OFFSETS_MAX} above first, and not below it")
        return json_answer(readers.rows.read(partition, first, end))

    routes = [
        Route("/lake/payments", get_rows, methods=["GET"]),
        Route("/lake/payments/sums", get_sums, methods=["GET"]),
    ]
    return http_api(routes, title=TITLE, document=document, reasons=reasons)
