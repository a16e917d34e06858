"""Reasons why a process is not all that it should be: sentences of ours, for `/readyz`."""

from __future__ import annotations

from collections.abc import Callable, Iterable

Reasons = Callable[[], list[str]]
"""Why a role or process is not ready, in words; empty when it is."""


class Degraded(str):
    """
    A reason that leaves the process ready: it waits for what comes back by itself, and whoever
    calls it is served meanwhile.
    """

    __slots__ = ()


def split(reasons: Iterable[str]) -> tuple[list[str], list[str]]:
    """The reasons why a process is not ready, and those for which it is only degraded."""
    against: list[str] = []
    degraded: list[str] = []
    for reason in reasons:
        (degraded if isinstance(reason, Degraded) else against).append(str(reason))
    return against, degraded
