"""Moments are fixed by the seed, shared without loss, and a request that failed is not hidden."""

from __future__ import annotations

import itertools

import pytest

from orderflow.trials.open_loop import Schedule, in_threads, poisson_schedule


def test_a_seed_gives_the_same_moments_at_about_the_rate_each_time() -> None:
    moments = list(poisson_schedule(rate_per_s=100, duration_s=50, seed=7))
    assert moments == list(poisson_schedule(rate_per_s=100, duration_s=50, seed=7))
    assert 4_500 < len(moments) < 5_500
    assert all(0 < before < after < 50 for before, after in itertools.pairwise(moments))


def test_threads_share_the_moments_each_once() -> None:
    schedule = Schedule(rate_per_s=1_000, duration_s=2, seed=1)
    taken: list[int] = []
    in_threads(8, lambda: taken.extend(schedule.due()))
    assert len(taken) == len(set(taken))
    assert len(taken) == len(list(poisson_schedule(rate_per_s=1_000, duration_s=2, seed=1)))


def test_a_failure_in_one_thread_is_raised_at_the_end() -> None:
    numbers = iter(range(3))

    def work() -> None:
        if next(numbers) == 1:
            raise RuntimeError("refused")

    with pytest.raises(RuntimeError, match="refused"):
        in_threads(3, work)
