"""
Decides which outbox rows go and which are held; touches nothing itself.

The invariant: while a row of a lane (one key on one topic) is held, no later row of that lane goes.
So the order of a key on its topic never breaks, and rows of other lanes wait for nobody.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import NamedTuple
from uuid import UUID

from orderflow.messaging.relay.records import ProducerRecord

Lane = tuple[str, bytes]
"""A topic, and a key on it: what Kafka keeps in order."""

RESEND, DISCARD = "resend", "discard"


def lane_of(row: ProducerRecord) -> Lane:
    """What the row must not overtake, nor be overtaken by."""
    return row.topic, row.key


class Division(NamedTuple):
    """Places among the rows that were divided, in their order."""

    go: list[int]
    hold: list[int]


def divide(
    rows: Sequence[ProducerRecord], *, lanes: Container[Lane], refused: Container[int]
) -> Division:
    """
    The rows that may go now, and those to hold: the refused ones, by their places, and each row
    behind a held one of its lane. `lanes` have held rows already.
    """
    go: list[int] = []
    hold: list[int] = []
    blocked: set[Lane] = set()

    for place, row in enumerate(rows):
        lane = lane_of(row)
        # Blocked from here on, not from the beginning: what is before it has nothing to wait for.
        if place in refused or lane in blocked or lane in lanes:
            blocked.add(lane)
            hold.append(place)
        else:
            go.append(place)
    return Division(go, hold)


class Waiting(NamedTuple):
    """
    A held row. `refused`: by itself; else it waits behind one that is. `wanted`: what an operator
    wants of it, None as long as nobody has decided.
    """

    event_id: UUID
    lane: Lane
    refused: bool
    wanted: str | None
    size: int


def may_go(waiting: Sequence[Waiting], *, rows_max: int, bytes_max: int) -> list[Waiting]:
    """
    The held rows whose turn it is, in their order: of each lane those before the first refused one
    that nobody has decided about. As many as fit into one transaction, and at least one.

    `waiting` has all held rows, in the order in which they were held.
    """
    chosen: list[Waiting] = []
    blocked: set[Lane] = set()
    size = 0

    for row in waiting:
        if row.lane in blocked:
            continue
        if row.refused and row.wanted is None:
            blocked.add(row.lane)
            continue

        # An end, not a gap: a smaller row behind this one may be of its lane.
        size += row.size
        if chosen and (len(chosen) >= rows_max or size > bytes_max):
            break
        chosen.append(row)
    return chosen
