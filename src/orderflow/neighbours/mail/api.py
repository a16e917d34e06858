"""What the sink got, over HTTP, and its faults."""

from __future__ import annotations

from datetime import datetime
from http import HTTPStatus

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from orderflow.messaging.http import health, problems
from orderflow.messaging.http.bodies import read_json
from orderflow.messaging.http.health import json_answer
from orderflow.neighbours.mail.faults import Faults
from orderflow.neighbours.mail.mailbox import Accepted, Mailbox
from orderflow.neighbours.mail.receiving import Receiver

PAGE_MAX = 1_000


class MessageView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """`offered`: how often it came; all but the first were dropped."""

    number: int
    at: datetime
    message_id: str
    sender: str
    to: tuple[str, ...]
    subject: str
    text: str
    order_id: str
    customer_id: str
    offered: int


class MessagePage(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    items: tuple[MessageView, ...]
    next_cursor: str | None


class Totals(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    accepted: int
    offered: int


def app(mailbox: Mailbox, receiver: Receiver) -> Starlette:
    decoder = msgspec.json.Decoder(Faults)

    async def messages(request: Request) -> Response:
        asked = request.query_params
        cursor = asked.get("cursor", "0")
        if not (cursor.isascii() and cursor.isdigit()):
            raise problems.invalid("cursor is the nextCursor of the page before")
        found = mailbox.find(
            order_id=asked.get("orderId", ""), customer_id=asked.get("customerId", "")
        )
        rest = [one for one in found if one.number > int(cursor)]
        items = tuple(_view(one, mailbox.offered(one.message_id)) for one in rest[:PAGE_MAX])
        return json_answer(
            MessagePage(
                items=items, next_cursor=str(items[-1].number) if len(rest) > PAGE_MAX else None
            )
        )

    async def totals(_request: Request) -> Response:
        return json_answer(Totals(accepted=len(mailbox.accepted), offered=mailbox.offered_in_all))

    async def faults(request: Request) -> Response:
        if request.method == "PUT":
            receiver.faults = await read_json(request, decoder)
        return json_answer(receiver.faults, status=HTTPStatus.OK)

    return Starlette(
        routes=[
            Route("/messages", messages, methods=["GET"]),
            Route("/totals", totals, methods=["GET"]),
            Route("/faults", faults, methods=["GET", "PUT"]),
            *health.routes(list),
        ],
        exception_handlers=problems.handlers(),
    )


def _view(one: Accepted, offered: int) -> MessageView:
    return MessageView(offered=offered, **msgspec.structs.asdict(one))
