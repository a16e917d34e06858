"""Who is measured: a flow on a stack of ours, or any other implementation of the same flow."""

from __future__ import annotations

import time
from typing import Protocol

from orderflow.bench.flow import work_done
from orderflow.bench.flow.load import Flow
from orderflow.bench.flow.work_done import WorkDone
from orderflow.stack.local_stack import LocalStack
from orderflow.trials.harness import access, pid_of

TURN_S = 0.1


class Subject(Protocol):
    """
    `url`: orders are posted to `/orders` there. `pids`: by component, those whose CPU is counted.
    """

    url: str
    skus: list[str]
    flow: Flow
    bootstrap_servers: str

    def turn(self) -> None:
        """Look after it for a tenth of a second. Raises StackFailed when it has failed."""

    def pids(self) -> dict[str, int]: ...

    def work_done(self) -> WorkDone | None:
        """Takes seconds; None where nobody counts."""


class OnStack:
    """A flow whose processes, with broker and database, are those of a stack that runs."""

    def __init__(self, stack: LocalStack, *, url: str, skus: list[str], flow: Flow) -> None:
        self._stack = stack
        self._management_url = work_done.management_url(stack)
        self.url, self.skus, self.flow = url, skus, flow
        self.bootstrap_servers = access(stack).kafka.bootstrap_servers

    def turn(self) -> None:
        self._stack.turn()
        self._stack.raise_failures()
        self._stack.wait(TURN_S)

    def pids(self) -> dict[str, int]:
        return {
            name: pid_of(self._stack, name)
            for name, managed in self._stack.managed.items()
            if managed.child is not None and not managed.component.once
        }

    def work_done(self) -> WorkDone | None:
        return work_done.read(self._stack, self._management_url)


class Elsewhere:
    """A flow that somebody else runs: nothing of it is counted but what comes out."""

    def __init__(self, *, url: str, skus: list[str], flow: Flow, bootstrap_servers: str) -> None:
        self.url, self.skus, self.flow = url, skus, flow
        self.bootstrap_servers = bootstrap_servers

    def turn(self) -> None:
        time.sleep(TURN_S)

    def pids(self) -> dict[str, int]:
        return {}

    def work_done(self) -> WorkDone | None:
        return None
