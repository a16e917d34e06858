"""The order service as operations asks it, over HTTP: which orders are stuck."""

from __future__ import annotations

from datetime import datetime
from http import HTTPStatus
from typing import Any

import httpx2
import msgspec

from orderflow.messaging.http import problems
from orderflow.messaging.http.client import BoundedClient

WITHIN_S = 5.0
DETAIL_LENGTH_MAX = 200


class Waiting(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """
    What an order waits for. `owner`: who has to act. `next_action`: what an operator does when they
    do not.
    """

    for_: str = msgspec.field(name="for")
    since: datetime
    deadline: datetime
    overdue: bool
    owner: str
    next_action: str


class StuckOrder(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An order past the deadline of what it waits for, as the order service tells it."""

    order_id: str
    customer_id: str
    status: str
    amount_minor: int
    currency: str
    created_at: datetime
    updated_at: datetime
    waiting: Waiting


class StuckPage(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    items: tuple[StuckOrder, ...]
    next_cursor: str | None


class _Refusal(msgspec.Struct, frozen=True):
    title: str = ""
    detail: str = ""


class OrderApi:
    """
    The order API at `url`. Every call ends within 5 s. Threads may share it.

    `transport` stands in for the network in tests.
    """

    def __init__(self, url: str, *, transport: httpx2.BaseTransport | None = None) -> None:
        self._client = BoundedClient(
            within_s=WITHIN_S,
            peer="order",
            base_url=url,
            timeout=WITHIN_S,
            trust_env=False,
            transport=transport,
        )

    def stuck(self, *, limit: int, cursor: str | None) -> StuckPage:
        """
        A page of stuck orders, the longest wait first. The cursor is the order API's own.

        Raises a problem: 422 if the order API does not know the cursor, 503 if it can't answer.
        """
        parameters: dict[str, Any] = {"stuck": "true", "limit": limit}
        if cursor is not None:
            parameters["cursor"] = cursor

        try:
            answer = self._client.get("/orders", params=parameters)
        except (httpx2.TransportError, httpx2.InvalidURL) as error:
            raise away("it does not answer") from error
        return _page(answer)

    def close(self) -> None:
        self._client.close()


def _page(answer: httpx2.Response) -> StuckPage:
    if answer.status_code == HTTPStatus.UNPROCESSABLE_ENTITY:
        raise problems.invalid(_words(answer))
    if answer.status_code != HTTPStatus.OK:
        raise away(f"it answers {answer.status_code}: {_words(answer)}")
    try:
        return msgspec.json.decode(answer.content, type=StuckPage)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise away("its answer is none of an order API") from error


def _words(answer: httpx2.Response) -> str:
    """What a problem document says, in one line."""
    try:
        refusal = msgspec.json.decode(answer.content, type=_Refusal)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return "no problem document"
    return (refusal.detail or refusal.title)[:DETAIL_LENGTH_MAX]


def away(why: str) -> problems.Problem:
    return problems.problem(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "order-service-away",
        "The order service can't be asked",
        f"{why}; is order-api ready, and ORDERFLOW_OPERATIONS__ORDER__URL its address?",
        Retry_After=str(problems.RETRY_AFTER_S),
    )
