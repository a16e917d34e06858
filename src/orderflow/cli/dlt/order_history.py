"""What the order service has recorded of a dead letter's order, over HTTP."""

from __future__ import annotations

from datetime import datetime
from http import HTTPStatus
from typing import Any

import msgspec

from orderflow.cli.api_client import Api, NoAnswer, Refused
from orderflow.contracts.ids import order_id_of
from orderflow.messaging.dead_letters.evidence import LetterEvidence
from orderflow.messaging.dead_letters.letters import Letter

AROUND = 4
"""Entries of the history before the failure, and after it."""

Entry = dict[str, Any]


class OrderHistory(msgspec.Struct, frozen=True, kw_only=True):
    """
    `order` and `entries`, oldest first, as the order service says; `missing`: why there is nothing,
    or not all.
    """

    order_id: str | None = None
    order: Entry | None = None
    entries: tuple[Entry, ...] = ()
    missing: str | None = None


def order_of(letter: Letter) -> str | None:
    """The order that the letter is about; None if neither its headers nor its key name one."""
    return order_named(letter.evidence, letter.key)


def order_named(evidence: LetterEvidence, key: bytes | None) -> str | None:
    """The order that evidence or key name, if either does."""
    for text in (evidence.order_id, (key or b"").decode(errors="replace")):
        try:
            return order_id_of(text or "")
        except ValueError:
            continue
    return None


def order_history(letter: Letter, api: Api) -> OrderHistory:
    """The history of the letter's order. Never raises: what can't be had is said."""
    order_id = order_of(letter)
    if order_id is None:
        return OrderHistory(missing="neither its headers nor its key name an order")

    try:
        order = api.ask("GET", f"/orders/{order_id}")
        page = api.ask("GET", f"/orders/{order_id}/history", parameters={"all": "true"})
        entries = tuple(sorted(page["items"], key=lambda entry: entry["revision"]))
        return OrderHistory(order_id=order_id, order=order, entries=entries)
    except NoAnswer as error:
        return OrderHistory(order_id=order_id, missing=f"{error}")
    except Refused as refusal:
        missing = (
            "the order service has no such order"
            if refusal.status == HTTPStatus.NOT_FOUND
            else f"the order API refused to say: {refusal}"
        )
        return OrderHistory(order_id=order_id, missing=missing)
    except (KeyError, TypeError, ValueError):
        return OrderHistory(order_id=order_id, missing="the order API's answer is none of ours")


def around(entries: tuple[Entry, ...], at: datetime) -> tuple[list[Entry], list[Entry]]:
    """The last entries before that moment, and the first after it."""
    before = [entry for entry in entries if _moment(entry) <= at]
    after = [entry for entry in entries if _moment(entry) > at]
    return before[-AROUND:], after[:AROUND]


def _moment(entry: Entry) -> datetime:
    return datetime.fromisoformat(entry["occurredAt"])
