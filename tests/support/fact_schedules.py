"""
What payment and inventory publish about one order, and every sequence in which the order service
may consume it.

A schedule is a list of steps: facts by their short names, and `cancel`, which the customer asks
for. Refunds and releases come after the cancellation that causes them; all else comes in any
sequence, and one step comes twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import permutations

from tests.support.builders import (
    AnyOrder,
    paid,
    payment_failed,
    refunded,
    rejected,
    released,
    reserved,
)

from orderflow.services.order.rules import Fact

Schedule = tuple[str, ...]
CANCEL = "cancel"

FACTS: Mapping[str, Callable[[AnyOrder, int], Fact]] = {
    "succeeded": paid,
    "failed": payment_failed,
    "refunded": refunded,
    "reserved": reserved,
    "rejected": rejected,
    "released": released,
}
"""By short name; `succeeded again` is the same of the second attempt."""

SCENARIOS: tuple[Schedule, ...] = (
    ("succeeded",),
    ("failed",),
    ("succeeded", "reserved"),
    ("succeeded", "rejected", "refunded"),
    ("failed", "succeeded again"),
    ("failed", "succeeded again", "reserved again"),
    ("failed", CANCEL),
    (CANCEL, "succeeded", "refunded"),
    (CANCEL, "succeeded", "rejected", "refunded"),
    (CANCEL, "succeeded", "reserved", "refunded", "released"),
)
"""
What happens to one order in all. Cancelling one that is out of stock may come too late: then it is
refused.
"""


def schedules() -> list[Schedule]:
    """Every possible schedule, once: more than 500."""
    return list(dict.fromkeys(_all()))


def fact(step: str, order: AnyOrder) -> Fact:
    """The fact about this order that `step` names."""
    name, _, again = step.partition(" ")
    return FACTS[name](order, 2 if again else 1)


END_OF: Mapping[frozenset[str], tuple[str, str, str]] = {
    frozenset({"succeeded"}): ("PAID", "SUCCEEDED", "NONE"),
    frozenset({"failed"}): ("CREATED", "FAILED", "NONE"),
    frozenset({"succeeded", "reserved"}): ("PAID", "SUCCEEDED", "RESERVED"),
    frozenset({"succeeded", "rejected", "refunded"}): ("CANCELLED", "REFUNDED", "REJECTED"),
    frozenset({"failed", "succeeded again"}): ("PAID", "SUCCEEDED", "NONE"),
    frozenset({"failed", "succeeded again", "reserved again"}): ("PAID", "SUCCEEDED", "RESERVED"),
    frozenset({"failed", CANCEL}): ("CANCELLED", "FAILED", "NONE"),
    frozenset({CANCEL, "succeeded", "refunded"}): ("CANCELLED", "REFUNDED", "NONE"),
    frozenset({CANCEL, "succeeded", "rejected", "refunded"}): ("CANCELLED", "REFUNDED", "REJECTED"),
    frozenset({CANCEL, "succeeded", "reserved", "refunded", "released"}): (
        "CANCELLED",
        "REFUNDED",
        "RELEASED",
    ),
}
"""Status, payment and stock after all steps: whatever their order, and however often each came."""


def _all() -> Iterator[Schedule]:
    for scenario in SCENARIOS:
        for steps in permutations(scenario):
            if _possible(steps):
                yield steps
                for again in range(len(steps)):
                    for place in range(again + 1, len(steps) + 1):
                        if steps[again] != CANCEL:
                            yield (*steps[:place], steps[again], *steps[place:])


def _possible(steps: Schedule) -> bool:
    """Whether each refund has its cause before it, and each release as well."""
    known: set[str] = set()
    for step in steps:
        if step in {"refunded", "released"} and not (
            CANCEL in known or {"succeeded", "rejected"} <= known
        ):
            return False
        known.add(step)
    return True
