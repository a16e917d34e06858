"""More than one worker of each service that an order waits for, each a process in a slot."""

from __future__ import annotations

from collections.abc import Mapping

from orderflow.contracts.roster import ALWAYS_RUN
from orderflow.stack.local_stack import LocalStack
from orderflow.stack.parts.services import worker
from orderflow.stack.ports import free_ports

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
    ports = iter(free_ports(len(ROLES) * (count - 1), start=stack.settings.ports.postgres))
    for service, roles in ROLES.items():
        for slot in range(1, count):
            component = worker(stack.settings, service, roles, slot=slot, port=next(ports))
            stack.add(component)
            stack.start_process(component.name)


def running(stack: LocalStack) -> tuple[str, ...]:
    """The processes of our services that run, by name."""
    services = {member.name for member in ALWAYS_RUN}
    return tuple(
        name
        for name, managed in stack.managed.items()
        if managed.component.service in services and not managed.component.once and managed.is_up
    )
