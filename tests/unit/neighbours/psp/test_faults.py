"""Faults come as often as they are asked for."""

from __future__ import annotations

import random
from collections import Counter

from orderflow.neighbours.psp.faults import Fault, Faults


def test_faults_are_drawn_at_their_rates() -> None:
    chance = random.Random(4)
    faults = Faults(reply_lost=0.1, dropped=0.1, error_after_commit=0.05, slow=0.05)
    drawn = Counter(faults.draw(chance) for _ in range(20_000))
    shares = {fault: round(count / 20_000, 2) for fault, count in drawn.items()}
    assert shares == {
        Fault.NONE: 0.7,
        Fault.REPLY_LOST: 0.1,
        Fault.DROPPED: 0.1,
        Fault.ERROR_AFTER_COMMIT: 0.05,
        Fault.SLOW: 0.05,
    }


def test_nothing_goes_wrong_unless_asked() -> None:
    assert {Faults().draw(random.Random(seed)) for seed in range(100)} == {Fault.NONE}
