"""What a command says when the local stack, or the part that it asks, does not run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from orderflow.messaging.errors import OrderflowError
from orderflow.stack.lifecycle import current, is_running
from orderflow.stack.parts import kafka
from orderflow.stack.ports import is_open
from orderflow.stack.settings import StackSettings
from orderflow.stack.supervise.control import NOT_RUNNING, NotRunning

Server = Literal["kafka", "postgres", "registry"]


def refuse_away(local: StackSettings, server: Server, *, waits: bool = False) -> None:
    """
    Return if this server of the local stack listens; it is asked for no longer than a connect.

    Raises NotRunning if the stack does not run, and OrderflowError if only this server does not;
    not if the command `waits` for it.
    """
    listening = _listening(local)[server]
    if any(is_open(port) for port in listening.values()):
        return
    refuse_not_running(local)
    if not waits:
        starting = " or ".join(f"`orderflow start {name}`" for name in listening)
        raise OrderflowError(f"{server} does not run: start it with {starting}")


def refuse_not_running(local: StackSettings) -> None:
    """Raise NotRunning if no supervisor answers: what waits for a server would wait for nobody."""
    if not is_running(local):
        raise NotRunning(NOT_RUNNING)


def way_back(*processes: str) -> str:
    """What to type when a process of the local stack does not answer."""
    if not is_running(current()):
        return NOT_RUNNING
    return "see " + " and ".join(
        ["`orderflow status`", *(f"`orderflow logs {name}`" for name in processes)]
    )


def _listening(local: StackSettings) -> Mapping[Server, Mapping[str, int]]:
    """The ports of each server, by the names of its processes."""
    return {
        "kafka": dict(zip(kafka.names(local), local.ports.kafka, strict=False)),
        "postgres": {"postgres": local.ports.postgres},
        "registry": {"registry": local.ports.registry},
    }
