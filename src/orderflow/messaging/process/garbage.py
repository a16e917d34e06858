"""Garbage collection of a process that makes many small objects, and hardly any cycle."""

from __future__ import annotations

import gc

ALLOCATIONS = 50_000


def collect_garbage_rarely() -> None:
    """
    Look for cycles once in 50,000 allocations, not in 700, and never again at what is there now.

    A batch of some thousand decoded records is alive at once, and every look would go over all of
    them: a third of the time of a listener that folds.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(ALLOCATIONS, 20, 20)
