"""What is done to the workers while they work: each at a share of the work, one after the other."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import msgspec

from orderflow.stack.local import LocalStack
from orderflow.stack.supervise.process import State


class Disturbed(msgspec.Struct, frozen=True, kw_only=True):
    """`behind`: records that the workers' group had still to finish at that moment."""

    at_s: float
    what: str
    behind: int


class Planned(msgspec.Struct, frozen=True, kw_only=True):
    """To be done when so much of the work (`share`, 0 to 1) is. `act` says whether it could be done yet."""

    share: float
    what: str
    act: Callable[[], bool]


def planned_for(stack: LocalStack, workers: list[str], *, joiner: str) -> list[Planned]:
    """
    One more worker joins, one is killed, the one more leaves, the one with the relay is killed.

    The stack starts again what was killed. `workers`: the first has the service's relay.
    """

    def runs(name: str) -> bool:
        return stack.managed[name].state is State.RUNNING

    def join() -> bool:
        stack.want(joiner, up=True)
        return True

    def leave() -> bool:
        if runs(joiner):
            stack.want(joiner, up=False)
            return True
        return False

    def kill(name: str) -> Callable[[], bool]:
        def act() -> bool:
            child = stack.managed[name].child
            if child is None or not runs(name):
                return False
            os.kill(child.pid, signal.SIGKILL)
            return True

        return act

    return [
        Planned(share=0.1, what=f"{joiner} starts and joins: rebalance", act=join),
        Planned(share=0.2, what=f"{workers[-1]}: kill -9", act=kill(workers[-1])),
        Planned(share=0.3, what=f"{joiner} leaves: rebalance", act=leave),
        Planned(share=0.4, what=f"{workers[0]}, the relay in it: kill -9", act=kill(workers[0])),
    ]
