"""What is done to the processes of a stack under load: they join, leave, and are killed."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import msgspec

from orderflow.stack.local_stack import LocalStack
from orderflow.stack.supervise.managed import State


class Disturbed(msgspec.Struct, frozen=True, kw_only=True):
    """A disturbance that came. `behind`: records that the workers' group had not finished then."""

    at_s: float
    what: str
    behind: int


class Planned(msgspec.Struct, frozen=True, kw_only=True):
    """
    A disturbance to come when `share` (0 to 1) of the work is done.

    `act` returns whether the disturbance could be brought about; if not, it is tried again later.
    """

    share: float
    what: str
    act: Callable[[], bool]


def start(stack: LocalStack, name: str) -> Callable[[], bool]:
    """The component starts."""

    def act() -> bool:
        stack.want(name, up=True)
        return True

    return act


def stop(stack: LocalStack, name: str) -> Callable[[], bool]:
    """The component is stopped in good order, once it runs."""

    def act() -> bool:
        if stack.managed[name].state is not State.RUNNING:
            return False
        stack.want(name, up=False)
        return True

    return act


def kill(stack: LocalStack, name: str) -> Callable[[], bool]:
    """SIGKILL, once the component runs; the stack starts it again."""

    def act() -> bool:
        managed = stack.managed[name]
        if managed.child is None or managed.state is not State.RUNNING:
            return False
        os.kill(managed.child.pid, signal.SIGKILL)
        return True

    return act
