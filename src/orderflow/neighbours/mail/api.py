"""The mail sink over HTTP: the mails it accepted, and its faults."""

from __future__ import annotations

import re

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from orderflow.messaging.http.api import http_api
from orderflow.messaging.http.bodies import read_json
from orderflow.messaging.http.health import json_answer
from orderflow.messaging.http.pages import Cursors, page
from orderflow.neighbours.mail.faults import Faults
from orderflow.neighbours.mail.mailbox import Accepted, Mailbox
from orderflow.neighbours.mail.openapi import TITLE, document
from orderflow.neighbours.mail.smtp_server import Receiver
from orderflow.neighbours.mail.views import MessagePage, MessageView, Totals

PAGE_MAX = 1_000


def build_api(mailbox: Mailbox, receiver: Receiver) -> Starlette:
    decoder = msgspec.json.Decoder(Faults)

    async def messages(request: Request) -> Response:
        query = request.query_params
        after = int(_MESSAGES.read(query) or 0)
        mails = mailbox.find(
            order_id=query.get("orderId", ""), customer_id=query.get("customerId", "")
        )

        rest = [mail for mail in mails if mail.number > after]
        shown, next_cursor = page(
            rest, limit=PAGE_MAX, cursor_of=lambda mail: _MESSAGES.of(str(mail.number))
        )
        items = tuple(_view(mail, mailbox.offered(mail.message_id)) for mail in shown)
        return json_answer(MessagePage(items=items, next_cursor=next_cursor))

    async def totals(_request: Request) -> Response:
        return json_answer(Totals(accepted=len(mailbox.accepted), offered=mailbox.offered_in_all))

    async def faults(request: Request) -> Response:
        if request.method == "PUT":
            receiver.faults = await read_json(request, decoder)
        return json_answer(receiver.faults)

    routes = [
        Route("/messages", messages, methods=["GET"]),
        Route("/totals", totals, methods=["GET"]),
        Route("/faults", faults, methods=["GET", "PUT"]),
    ]
    return http_api(routes, title=TITLE, document=document, reasons=list)


_MESSAGES = Cursors("messages", re.compile(r"[0-9]{1,18}").fullmatch)


def _view(mail: Accepted, offered: int) -> MessageView:
    return MessageView(offered=offered, **msgspec.structs.asdict(mail))
