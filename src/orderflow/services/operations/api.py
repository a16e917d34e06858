"""The operations API: what an operator's console stands on."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from starlette.types import ASGIApp

from orderflow.messaging.dead_letters.desk import Desk
from orderflow.messaging.errors import Transient, plain
from orderflow.messaging.http import problems
from orderflow.messaging.http.api import http_api
from orderflow.messaging.http.health import Reasons
from orderflow.messaging.schemas.avro import Decoder
from orderflow.services.operations.auditor import LastAudit
from orderflow.services.operations.books_routes import BooksRoutes
from orderflow.services.operations.cluster import ClusterRoutes
from orderflow.services.operations.desk_routes import DeskRoutes
from orderflow.services.operations.openapi import TITLE, document
from orderflow.services.operations.orders import OrderApi
from orderflow.services.operations.problem_types import PROBLEM_TYPES
from orderflow.services.operations.questions import Questions
from orderflow.services.operations.surveys import Surveys


class Sources(msgspec.Struct, frozen=True, kw_only=True):
    """
    What the API asks, and on which threads. `brokers`: one thread, which alone uses `surveys`.
    `others`: the order service. `letters`: dead letters are read. `acts`: one thread, which alone
    replays and discards. `last_audit`: what the auditor of this process has found.
    """

    surveys: Surveys
    orders: OrderApi
    desk: Callable[[], Desk]
    decoder: Decoder
    brokers: Questions
    others: Questions
    letters: Questions
    acts: Questions
    last_audit: LastAudit


def build_api(sources: Sources, reasons: Reasons) -> ASGIApp:
    cluster = ClusterRoutes(
        sources.surveys, sources.orders, brokers=sources.brokers, others=sources.others
    )
    desk = DeskRoutes(sources.desk, sources.decoder, reads=sources.letters, acts=sources.acts)
    return http_api(
        [*desk.routes(), *cluster.routes(), *BooksRoutes(sources.last_audit).routes()],
        title=TITLE,
        document=document,
        reasons=reasons,
        translate=from_error,
        problem_types=PROBLEM_TYPES,
    )


def from_error(error: BaseException) -> problems.Problem:
    """The problem that a client gets: here what is away has a name."""
    if isinstance(error, Transient):
        return problems.unavailable(plain(error))
    return problems.from_error(error)
