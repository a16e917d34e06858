"""The notification service's workers, each a process, and how they are disturbed."""

from __future__ import annotations

import msgspec

from orderflow.stack.local_stack import LocalStack
from orderflow.stack.parts.services import worker
from orderflow.stack.ports import free_ports
from orderflow.trials.disturbances import Planned, kill, start, stop

SERVICE = "notification"
ROLES = "listener,sender"


class Workers(msgspec.Struct, frozen=True, kw_only=True):
    """`running` are ready, the first has the service's API and relay too. `joiner` is stopped."""

    running: list[str]
    joiner: str


def start_workers(stack: LocalStack, count: int) -> Workers:
    """Start `count` workers, one of which the stack has already; add one more to join later."""
    names = [SERVICE]
    ports = free_ports(count, start=stack.settings.ports.postgres)
    for slot, port in enumerate(ports, start=1):
        component = worker(stack.settings, SERVICE, ROLES, slot=slot, port=port)
        stack.add(component)
        names.append(component.name)

    for name in names[1:-1]:
        stack.start_process(name)
    return Workers(running=names[:-1], joiner=names[-1])


def disturbances(stack: LocalStack, workers: Workers) -> list[Planned]:
    """A worker joins, another is killed, the joiner leaves, the one with the relay is killed."""
    first, last, joiner = workers.running[0], workers.running[-1], workers.joiner
    return [
        Planned(share=0.1, what=f"{joiner} starts and joins: rebalance", act=start(stack, joiner)),
        Planned(share=0.2, what=f"{last}: kill -9", act=kill(stack, last)),
        Planned(share=0.3, what=f"{joiner} leaves: rebalance", act=stop(stack, joiner)),
        Planned(share=0.4, what=f"{first}, the relay in it: kill -9", act=kill(stack, first)),
    ]
