"""The fulfilment API: what has to be shipped, and how far it is."""

from __future__ import annotations

from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from orderflow.contracts.ids import known_order_id
from orderflow.messaging.http.api import http_api
from orderflow.messaging.http.health import Reasons, json_answer
from orderflow.messaging.http.pages import Cursors, page
from orderflow.messaging.http.parameters import (
    is_identifier,
    query_choices,
    query_identifier,
    query_value,
)
from orderflow.messaging.http.problems import Problem, problem
from orderflow.messaging.postgres import ConnectionPool, reading
from orderflow.services.fulfilment import repository
from orderflow.services.fulfilment.model import ShipmentStatus
from orderflow.services.fulfilment.openapi import TITLE, document
from orderflow.services.fulfilment.problem_types import PROBLEM_TYPES
from orderflow.services.fulfilment.views import LIMIT, LIMIT_DEFAULT, ShipmentPage, shipment_view


def build_api(pool: ConnectionPool, reasons: Reasons) -> ASGIApp:
    def get_page(request: Request) -> Response:
        query = request.query_params
        limit = query_value(query, "limit", LIMIT, default=LIMIT_DEFAULT)
        customer_id = query_identifier(query, "customerId")
        statuses = query_choices(query, "status", ShipmentStatus)
        before = _SHIPMENTS.read(query)

        with reading(pool) as cursor:
            shipments = repository.page(
                cursor,
                customer_id=customer_id,
                statuses=statuses,
                before=before,
                limit=limit + 1,
            )

        shown, next_cursor = page(
            shipments, limit=limit, cursor_of=lambda shipment: _SHIPMENTS.of(shipment.order_id)
        )
        items = tuple(shipment_view(shipment) for shipment in shown)
        return json_answer(ShipmentPage(items=items, next_cursor=next_cursor))

    def get_shipment(request: Request) -> Response:
        order_id = request.path_params["order_id"]
        with reading(pool) as cursor:
            shipment = (
                repository.find(cursor, known_order_id(order_id))
                if is_identifier(order_id)
                else None
            )
        if shipment is None:
            raise no_such_shipment()
        return json_answer(shipment_view(shipment))

    routes = [
        Route("/shipments", get_page, methods=["GET"]),
        Route("/shipments/{order_id}", get_shipment, methods=["GET"]),
    ]
    return http_api(
        routes, title=TITLE, document=document, reasons=reasons, problem_types=PROBLEM_TYPES
    )


def no_such_shipment() -> Problem:
    return problem(
        HTTPStatus.NOT_FOUND, "shipment-not-found", "Nothing was ever to be sent for such an order"
    )


_SHIPMENTS = Cursors("newest-shipments", is_identifier)
