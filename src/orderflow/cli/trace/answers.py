"""Asks the services' APIs what they have recorded of an order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from typing import Any, TypeVar

import msgspec

from orderflow.cli.api_client import Api, NoAnswer, Refused
from orderflow.cli.trace.evidence import Answer, Missing
from orderflow.messaging.errors import OrderflowError

MAILS_MAX = 500
ASKED = ("order", "payment", "inventory", "notification", "fulfilment")
"""The services that are asked."""
Apis = Mapping[str, Api | None]
"""By service; None: nobody says where its API is."""

T = TypeVar("T")


class NoSuchOrder(OrderflowError):
    """The order service has no order with this id."""


class Answers(msgspec.Struct, kw_only=True):
    """What the services answered: None or empty where one knows nothing, or did not answer."""

    order: Answer | None = None
    history: list[Answer] = msgspec.field(default_factory=list)
    payments: Answer | None = None
    reservation: Answer | None = None
    shipment: Answer | None = None
    mails: list[Answer] = msgspec.field(default_factory=list)
    missing: list[Missing] = msgspec.field(default_factory=list)


def ask_services(apis: Apis, order_id: str) -> Answers:
    """
    All answers about the order. A service that does not answer is named in `missing`. Raises
    NoSuchOrder.
    """
    answers = Answers()
    asked_for = _Asking(apis, answers.missing)

    answers.order = asked_for("order", lambda api: api.ask("GET", f"/orders/{order_id}"))
    if answers.order is None and not answers.missing:
        raise NoSuchOrder(f"there is no order {order_id}")
    if answers.order is not None:
        history = asked_for("order", lambda api: _history(api, order_id))
        answers.history = [] if history is None else history

    answers.payments = asked_for("payment", lambda api: api.ask("GET", f"/payments/{order_id}"))
    answers.reservation = asked_for(
        "inventory", lambda api: api.ask("GET", f"/reservations/{order_id}")
    )
    answers.shipment = asked_for("fulfilment", lambda api: api.ask("GET", f"/shipments/{order_id}"))
    mails = asked_for("notification", lambda api: _mails(api, order_id))
    answers.mails = [] if mails is None else mails
    return answers


class _Asking:
    """Asks one service; what can't be asked is noted, and what is not there is None."""

    def __init__(self, apis: Apis, missing: list[Missing]) -> None:
        self._apis = apis
        self._missing = missing

    def __call__(self, service: str, question: Callable[[Api], T]) -> T | None:
        api = self._apis[service]
        if api is None:
            self._note(service, f"nobody says where its API is: give --{service}-url")
            return None

        try:
            return question(api)
        except NoAnswer:
            hint = " (see `orderflow status`)" if api.is_local else ""
            self._note(service, f"its API did not answer{hint}: what it has recorded is left out")
        except Refused as refusal:
            if refusal.status != HTTPStatus.NOT_FOUND:
                self._note(service, f"its API refused to say: {refusal}")
        except (KeyError, TypeError, ValueError):
            self._note(service, "its API gave an answer that is none of ours")
        return None

    def _note(self, service: str, why: str) -> None:
        self._missing.append(Missing(source=service, why=why, unasked=True))


def _history(api: Api, order_id: str) -> list[Any]:
    page = api.ask("GET", f"/orders/{order_id}/history", parameters={"all": "true"})
    items: list[Any] = page["items"]
    return items


def _mails(api: Api, order_id: str) -> list[Any]:
    return [*_first(api.items("/notifications", {"orderId": order_id}), MAILS_MAX)]


def _first(items: Iterator[Any], count: int) -> Iterator[Any]:
    for _, item in zip(range(count), items, strict=False):
        yield item
