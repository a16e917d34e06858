"""The processes of a flow, started and stopped together; more than one worker of each service."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from orderflow.contracts.roster import ALWAYS_RUN
from orderflow.stack.local_stack import LocalStack
from orderflow.stack.parts.services import worker
from orderflow.stack.ports import free_ports
from orderflow.stack.supervise.managed import State

ROLES: Mapping[str, str] = {
    "payment": "listener",
    "inventory": "listener",
    "notification": "listener,sender",
    "fulfilment": "listener",
    "analytics": "listener",
}
"""What a worker does; the one that the stack has already has the API and the relay too."""


def add_workers(stack: LocalStack, count: int) -> None:
    """Start workers until each service has `count`."""
    names = list[str]()
    ports = iter(free_ports(len(ROLES) * (count - 1), start=stack.settings.ports.postgres))
    for service, roles in ROLES.items():
        for slot in range(1, count):
            component = worker(stack.settings, service, roles, slot=slot, port=next(ports))
            stack.add(component)
            names.append(component.name)
    start(stack, names)


def running(stack: LocalStack) -> tuple[str, ...]:
    """The processes of our services that run, by name."""
    services = {member.name for member in ALWAYS_RUN}
    return tuple(
        name
        for name, managed in stack.managed.items()
        if managed.component.service in services and not managed.component.once and managed.is_up
    )


@contextmanager
def without(stack: LocalStack, names: Iterable[str]) -> Iterator[None]:
    """These processes rest for as long as the block lasts; those that did not run rest on."""
    rested = [name for name in names if stack.find(name).is_up]
    stop(stack, rested)
    yield
    # Not after an exception: it ends the stack.
    start(stack, rested)


def start(stack: LocalStack, names: Iterable[str]) -> None:
    """Wait until all are ready. Raises StackFailed if one can't be started."""
    managed = [stack.find(name) for name in names]
    for each in managed:
        stack.want(each.name, up=True)
    while not all(each.is_up for each in managed):
        stack.turn()
        stack.raise_failures()
        stack.wait()


def stop(stack: LocalStack, names: Iterable[str]) -> None:
    """Wait until none is left, whatever depends on them."""
    managed = [stack.find(name) for name in names]
    for each in managed:
        stack.want(each.name, up=False)
    while any(each.state is not State.STOPPED for each in managed):
        stack.turn()
        stack.wait()
