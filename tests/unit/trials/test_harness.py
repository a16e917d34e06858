"""Figures of a report: medians beside their range, ratios against the baseline of the same run."""

from __future__ import annotations

import msgspec

from orderflow.trials.harness import of_target, rate_cells, ratio, spread, void_cell


class Turn(msgspec.Struct, frozen=True):
    target: str
    per_s: float


TURNS = [
    Turn(target, per_s)
    for target, per_s in [("ours", 900), ("naive", 100), ("ours", 3_000), ("ours", 1_000)]
]


def test_a_ratio_is_of_medians_so_that_one_lucky_turn_does_not_count() -> None:
    assert ratio(TURNS, "ours", "naive") == 10


def test_a_rate_is_shown_with_its_range() -> None:
    assert rate_cells(of_target(TURNS, "ours")) == ("1,000", "900–3,000")
    assert spread([2.0, 1.0, 4.0]) == "2.0 (1.0–4.0)"


def test_void_turns_are_counted_beside_all() -> None:
    assert void_cell([True, False, False]) == "1 of 3"
