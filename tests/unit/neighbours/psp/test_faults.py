"""Faults come as often as they are asked for, at the operations that they are asked for."""

from __future__ import annotations

import random
from collections import Counter

import msgspec
import pytest

from orderflow.neighbours.psp.faults import (
    EFFECTS,
    OF_WEBHOOKS,
    Fault,
    FaultPlan,
    Faults,
    Operation,
    Rule,
)
from orderflow.neighbours.psp.tokens import fault_of


class Hand:
    """The hand of a clock."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def plan(faults: Faults, hand: Hand | None = None) -> FaultPlan:
    found = FaultPlan(chance=random.Random(4), monotonic=hand or Hand())
    found.set(faults)
    return found


def drawn(found: FaultPlan, operation: Operation, times: int = 1) -> list[Fault]:
    return [found.draw(operation).fault for _ in range(times)]


@pytest.mark.parametrize("operation", [Operation.CHARGE, Operation.VOID, Operation.REFUND])
def test_faults_are_drawn_at_their_rates(operation: Operation) -> None:
    found = plan(
        Faults(
            reply_lost=0.1,
            dropped=0.1,
            error_after_commit=0.05,
            rules=(Rule(fault=Fault.STATUS_503, rate=0.05),),
        )
    )
    counts = Counter(drawn(found, operation, 20_000))
    assert {fault: round(count / 20_000, 2) for fault, count in counts.items()} == {
        Fault.NONE: 0.7,
        Fault.REPLY_LOST: 0.1,
        Fault.DROPPED: 0.1,
        Fault.ERROR_AFTER_COMMIT: 0.05,
        Fault.STATUS_503: 0.05,
    }


def test_nothing_goes_wrong_unless_asked() -> None:
    assert {*drawn(plan(Faults()), Operation.CHARGE, 100)} == {Fault.NONE}


def test_a_rule_is_for_its_operations_and_the_short_rates_are_for_posts() -> None:
    found = plan(Faults(dropped=1, rules=(Rule(fault=Fault.HTML, operations=(Operation.FIND,)),)))
    assert [drawn(found, operation)[0] for operation in Operation] == [
        Fault.DROPPED,
        Fault.HTML,
        Fault.DROPPED,
        Fault.DROPPED,
        Fault.NONE,
    ]


def test_a_rule_is_over_after_its_first_calls_or_its_seconds() -> None:
    hand = Hand()
    first = Rule(fault=Fault.STATUS_504, first=2)
    found = plan(Faults(rules=(first, Rule(fault=Fault.STATUS_429, for_s=10))), hand)
    assert drawn(found, Operation.FIND, 3) == ["504", "504", "429"]
    hand.now = 10.0
    assert drawn(found, Operation.FIND) == [Fault.NONE]
    view = found.view()
    assert [(each.applied, each.active) for each in view.rules] == [(2, False), (1, False)]
    assert view.applied == {Fault.STATUS_504: 2, Fault.STATUS_429: 1}


def test_each_fault_is_of_calls_or_of_webhooks_and_a_rule_that_confuses_them_is_refused() -> None:
    assert set(EFFECTS) | OF_WEBHOOKS == set(Fault)
    for body in (
        b'{"fault": "forged", "operations": ["charge"]}',
        b'{"fault": "503", "operations": ["webhook"]}',
    ):
        with pytest.raises(msgspec.ValidationError, match="has the operations"):
            msgspec.json.decode(body, type=Rule)


def test_a_token_names_its_fault_for_the_first_charge_or_always() -> None:
    assert fault_of("pm_503", first=True) is Fault.STATUS_503
    assert fault_of("pm_503", first=False) is Fault.NONE
    assert fault_of("pm_422_always", first=False) is Fault.STATUS_422
    assert {fault_of(token, first=True) for token in ("pm_", "pm_ok", "503", "pm_forged")} == {
        Fault.NONE
    }
