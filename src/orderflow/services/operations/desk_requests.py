"""Which dead letters a request means, and what is to become of them."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta
from starlette.datastructures import QueryParams
from starlette.requests import Request

from orderflow.contracts.ids import OrderId, known_order_id
from orderflow.messaging.dead_letters.letter_place import LetterId, letter_id_of
from orderflow.messaging.dead_letters.letters import LetterFilter
from orderflow.messaging.http import problems
from orderflow.messaging.http.actor import Reason
from orderflow.messaging.http.parameters import query_choice, query_moment, query_value

Moment = Annotated[datetime, Meta(tz=True)]
Name = Annotated[str, Meta(min_length=1, max_length=255)]

FILTERS = ("group", "topic", "type", "cause", "key", "orderId", "from", "to", "state")
LIMIT_DEFAULT, LIMIT_MAX = 50, 200
IDS_MAX = 1_000
MAX_DEFAULT, MAX_MAX = 500, 10_000


class WantedState(StrEnum):
    """Which letters are listed. `open`: parked ones too."""

    OPEN = "open"
    PARKED = "parked"
    REPLAYED = "replayed"
    DISCARDED = "discarded"
    ALL = "all"


class FilterRequest(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True
):
    """
    The open letters that fit all of it; without anything, all open ones. `type` and `cause`: with
    or without their namespace. `from` (inclusive), `to` (exclusive): when the letter was written.
    """

    group: Name | None = None
    topic: Name | None = None
    type: Name | None = None
    cause: Name | None = None
    key: str | None = None
    order_id: Name | None = None
    from_: Moment | None = msgspec.field(name="from", default=None)
    to: Moment | None = None
    parked: bool | None = None


Ids = Annotated[tuple[str, ...], Meta(min_length=1, max_length=IDS_MAX)]
Max = Annotated[int, Meta(ge=1, le=MAX_MAX)]


class ReplayRequest(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True
):
    """
    Either `ids` or `filter`. `max`: send at most so many. `keepOrder` false: a letter may overtake
    an older one of its key that stays behind. `replaysMax`: after so many replays a letter is
    parked and not sent.
    """

    ids: Ids | None = None
    filter: FilterRequest | None = None
    reason: Reason | None = None
    dry_run: bool = False
    max: Max = MAX_DEFAULT
    keep_order: bool = True
    replays_max: Annotated[int, Meta(ge=1, le=1_000)] | None = None


class DiscardRequest(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True
):
    """Either `ids` or `filter`, and a reason: nobody sends a discarded letter again."""

    reason: Reason
    ids: Ids | None = None
    filter: FilterRequest | None = None
    dry_run: bool = False
    max: Max = MAX_DEFAULT


def query_filter(query: QueryParams) -> tuple[LetterFilter, WantedState]:
    """The query as a filter. Raises a problem (422) that names the parameter that is wrong."""
    state = query_choice(query, "state", WantedState) or WantedState.OPEN
    key = query.get("key")

    letter_filter = LetterFilter(
        group=query_value(query, "group", Name),
        topic=query_value(query, "topic", Name),
        type=query_value(query, "type", Name),
        cause=query_value(query, "cause", Name),
        key=None if key is None else key.encode(),
        order_id=_order_id(query_value(query, "orderId", Name)),
        since=query_moment(query, "from"),
        until=query_moment(query, "to"),
        parked=True if state is WantedState.PARKED else None,
    )
    return letter_filter, state


def body_filter(body: ReplayRequest | DiscardRequest) -> LetterFilter:
    """The letters that a command is about. Raises a problem (422) unless it says which."""
    if (body.ids is None) == (body.filter is None):
        raise problems.invalid("say which letters: either ids or filter")
    if body.ids is not None:
        return LetterFilter(ids=frozenset(_letter_id(text) for text in body.ids))

    assert body.filter is not None
    wanted = body.filter
    return LetterFilter(
        group=wanted.group,
        topic=wanted.topic,
        type=wanted.type,
        cause=wanted.cause,
        key=None if wanted.key is None else wanted.key.encode(),
        order_id=_order_id(wanted.order_id),
        since=wanted.from_,
        until=wanted.to,
        parked=wanted.parked,
    )


def _order_id(text: str | None) -> OrderId | None:
    return None if text is None else known_order_id(text)


def path_letter(request: Request) -> LetterId | None:
    """The letter that the path names; None if it can be none."""
    parts = (request.path_params[name] for name in ("topic", "partition", "offset"))
    return letter_id_of("/".join(parts).encode())


def _letter_id(text: str) -> LetterId:
    letter_id = letter_id_of(text.encode(errors="replace"))
    if letter_id is None:
        raise problems.invalid(
            f"ids: {text[:200]!r} names no dead letter, as orders.payment-service.dlt/0/12 does"
        )
    return letter_id
