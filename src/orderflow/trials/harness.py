"""
What every measurement does with its stack and its figures.

Each figure stands beside a baseline that was measured in the same run, in alternating turns; a
report shows the median of the turns, and their range.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol, TypeVar

import msgspec

from orderflow.messaging.errors import OrderflowError
from orderflow.messaging.settings import DatabaseSettings, KafkaSettings, RegistrySettings
from orderflow.stack.addresses import database_url, process_environment
from orderflow.stack.local_stack import LocalStack
from orderflow.stack.parts import postgres
from orderflow.stack.supervise.managed import State

POLL_EVERY_S = 0.02

QUIET: Mapping[str, str] = {"ORDERFLOW_TELEMETRY__LOG_LEVEL": "warning"}
"""For processes that are measured: no line for each record."""


class Turn(Protocol):
    """One measurement of one target."""

    @property
    def target(self) -> str: ...

    @property
    def per_s(self) -> float: ...


T = TypeVar("T", bound=Turn)


class Access(msgspec.Struct, frozen=True, kw_only=True):
    """How processes and clients beside a stack reach it."""

    environment: dict[str, str]
    kafka: KafkaSettings
    registry: RegistrySettings


def access(stack: LocalStack) -> Access:
    """`environment` is this process's, with the stack's addresses and a quiet log."""
    addresses = process_environment(stack.settings)
    return Access(
        environment={**os.environ, **addresses, **QUIET},
        kafka=KafkaSettings(bootstrap_servers=addresses["ORDERFLOW_KAFKA__BOOTSTRAP_SERVERS"]),
        registry=RegistrySettings(url=addresses["ORDERFLOW_REGISTRY__URL"]),
    )


def database(dsn: str) -> DatabaseSettings:
    return DatabaseSettings.model_validate({"dsn": dsn})


def new_database(stack: LocalStack, name: str) -> str:
    """Create an empty database on the stack's server; its DSN."""
    postgres.create_database(stack.settings.ports.postgres, name)
    return database_url(stack.settings, name)


def pid_of(stack: LocalStack, name: str) -> int:
    """The process id of a component that runs."""
    child = stack.find(name).child
    assert child is not None
    return child.pid


def keep(stack: LocalStack, seconds: float, *, check: Callable[[], None]) -> None:
    """
    Let the stack restart what died, for so long, and call `check` every turn.

    Raises OrderflowError when a component has failed for good.
    """
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        stack.turn()
        stack.wait()
        check()
        for managed in stack.managed.values():
            if managed.state is State.FAILED:
                raise OrderflowError(f"{managed.name} ended: {managed.reason}")


def wait_for(probe: Callable[[], bool], *, within_s: float, what: str) -> None:
    """Poll until `probe` is true. Raises OrderflowError, naming `what`, when it is too late."""
    deadline = time.monotonic() + within_s
    while not probe():
        if time.monotonic() > deadline:
            raise OrderflowError(f"{what}: not within {within_s} s")
        time.sleep(POLL_EVERY_S)


def of_target(turns: Iterable[T], target: str) -> list[T]:
    return [turn for turn in turns if turn.target == target]


def ratio(turns: Sequence[Turn], target: str, baseline: str) -> float:
    """The median rate of one target against the baseline's."""
    return _median_rate(turns, target) / _median_rate(turns, baseline)


def _median_rate(turns: Sequence[Turn], target: str) -> float:
    return statistics.median(turn.per_s for turn in of_target(turns, target))


def median(values: Iterable[float], *, digits: int = 0) -> str:
    """As a table's cell."""
    return f"{statistics.median(values):,.{digits}f}"


def rate_cells(turns: Sequence[Turn]) -> tuple[str, str]:
    """Two cells of a table: the median rate, and the range of the rates."""
    rates = [turn.per_s for turn in turns]
    return median(rates), f"{min(rates):,.0f}–{max(rates):,.0f}"


def spread(values: Sequence[float], *, digits: int = 1) -> str:
    """`median (min–max)`."""
    low, high = min(values), max(values)
    return f"{median(values, digits=digits)} ({low:,.{digits}f}–{high:,.{digits}f})"


def void_cell(is_void: Sequence[bool]) -> str:
    """How many of the turns count for nothing."""
    return f"{sum(is_void)} of {len(is_void)}"
