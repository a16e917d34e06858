"""
The deploy step of Connect: the warehouse's table, then the connectors. Repeated, it changes
nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Literal

import msgspec

from orderflow.connect.connectors import Connector, connectors
from orderflow.connect.outbox_source import ORDER_HEARTBEATS, ORDER_OUTBOX
from orderflow.connect.rest import ConnectClient, ConnectorState, NoConnector
from orderflow.connect.settings import ConnectSettings
from orderflow.connect.warehouse import make_table
from orderflow.messaging.errors import ConfigurationError, OrderflowError, Unavailable
from orderflow.messaging.kafka import admin as topics
from orderflow.messaging.kafka.admin import Admin
from orderflow.messaging.kafka.topics import Topic, TopicSettings

RUNNING_WITHIN_S = 60.0
SETTLED_AFTER_S = 5.0
"""What a connector says right after a change may still be of before it."""

LOOK_EVERY_S = 0.2

Change = Literal["new", "changed", "as it should be", "gone"]
"""`gone`: another publishes what this connector did."""


class ConnectorFailed(OrderflowError):
    """A connector does not run. The message has Connect's own reason and what to do."""


class Deployed(msgspec.Struct, frozen=True, kw_only=True):
    """What `plan` would do, or `apply` did, with one connector. `fields`: those that differ."""

    name: str
    change: Change
    fields: tuple[str, ...] = ()


def plan(settings: ConnectSettings, client: ConnectClient) -> list[Deployed]:
    """Compare the connectors with the worker; changes nothing. Raises ConfigurationError."""
    wanted = _validated(settings, client)
    return [
        *(_compare(connector, client) for connector in wanted),
        *(Deployed(name=name, change="gone") for name in _unwanted(wanted, client)),
    ]


def apply(settings: ConnectSettings, client: ConnectClient) -> list[Deployed]:
    """
    Make the table and the connectors as they should be, and wait until all run.

    Raises ConfigurationError, before anything has changed, with Connect's own sentence and the
    field; Incompatible when the table that is there does not fit, which is never altered;
    ConnectorFailed when one does not run within 60 s.
    """
    wanted = _validated(settings, client)
    make_table(settings.warehouse.settings())
    done = []
    for name in _unwanted(wanted, client):
        client.delete(name)
        done.append(Deployed(name=name, change="gone"))
    if any(connector.name == ORDER_OUTBOX for connector in wanted):
        _make_topic(settings, ORDER_HEARTBEATS)

    for connector in wanted:
        comparison = _compare(connector, client)
        if comparison.change != "as it should be":
            client.put(connector.name, connector.config)
        elif not _state(client, connector.name).is_running:
            client.restart(connector.name, only_failed=True)
        done.append(comparison)

    for connector in wanted:
        wait_until_running(client, connector.name)
    return done


def rewind(client: ConnectClient, name: str) -> None:
    """
    Let a sink read its topics again from their beginning, and wait until it runs.

    Broken off, it may be left stopped: the next call goes on. Raises ConnectorFailed.
    """
    client.stop(name)
    _wait_for(client, name, lambda state: state.state == "STOPPED" and not state.tasks)
    client.reset_offsets(name)
    client.resume(name)
    wait_until_running(client, name)


def wait_until_running(
    client: ConnectClient,
    name: str,
    *,
    within_s: float = RUNNING_WITHIN_S,
    is_starting: bool = False,
    sleep: Callable[[float], None] = time.sleep,
) -> ConnectorState:
    """
    The state of a connector that runs. `is_starting`: the worker may not answer yet. Raises
    ConnectorFailed.
    """
    began = time.monotonic()

    while True:
        try:
            state = _state(client, name)
        except Unavailable:
            if not is_starting or time.monotonic() - began > within_s:
                raise
            sleep(LOOK_EVERY_S)
            continue

        if state.is_running:
            return state

        waited_s = time.monotonic() - began
        if waited_s > within_s or (state.has_failed and waited_s > SETTLED_AFTER_S):
            raise ConnectorFailed(_why_not(state))
        sleep(LOOK_EVERY_S)


def _why_not(state: ConnectorState) -> str:
    """Why a connector does not run, and what to do."""
    if not state.kind:
        return (
            f"the worker has no connector {state.name}: `orderflow connect apply` makes it, "
            "or says what is in the way"
        )
    return (
        f"the connector {state.name} is {describe(state)}: {state.reason or 'it says no reason'}; "
        f"mend that, then `orderflow connect restart {state.name}`"
    )


def _wait_for(client: ConnectClient, name: str, is_so: Callable[[ConnectorState], bool]) -> None:
    deadline = time.monotonic() + RUNNING_WITHIN_S
    while not is_so(state := _state(client, name)):
        if time.monotonic() > deadline:
            raise ConnectorFailed(f"the connector {name} is still {describe(state)}")
        time.sleep(LOOK_EVERY_S)


def describe(state: ConnectorState) -> str:
    """The connector's state, or that of the task that is worst off."""
    others = [task.state for task in state.tasks if task.state != "RUNNING"]
    if state.state != "RUNNING":
        return state.state
    return others[0] if others else ("RUNNING" if state.tasks else "without a task")


def _state(client: ConnectClient, name: str) -> ConnectorState:
    """A connector that was just made has no state for a moment."""
    try:
        return client.state(name)
    except NoConnector:
        return ConnectorState(name=name, kind="", state="UNASSIGNED")


def _validated(settings: ConnectSettings, client: ConnectClient) -> list[Connector]:
    wanted = connectors(settings)
    for connector in wanted:
        refused = client.validate({"name": connector.name, **connector.config})
        if refused:
            sentences = "; ".join(f"{field.name}: {' '.join(field.errors)}" for field in refused)
            raise ConfigurationError(f"Connect refuses the connector {connector.name}: {sentences}")
    return wanted


def _unwanted(wanted: Sequence[Connector], client: ConnectClient) -> list[str]:
    """A source that is there, and would take a relay's slot from it. Others are left alone."""
    if any(connector.name == ORDER_OUTBOX for connector in wanted):
        return []
    return [ORDER_OUTBOX] if client.config(ORDER_OUTBOX) is not None else []


def _make_topic(settings: ConnectSettings, topic: Topic) -> None:
    """Before the connector, which makes no topics: one of a wrong shape would break an order."""
    admin = Admin(settings.kafka)
    topics.apply(topics.plan([topic], admin, TopicSettings()), admin)


def _compare(connector: Connector, client: ConnectClient) -> Deployed:
    present = client.config(connector.name)
    if present is None:
        return Deployed(name=connector.name, change="new")

    wanted = {"name": connector.name, **connector.config}
    differing = tuple(
        sorted(key for key in {*wanted, *present} if wanted.get(key) != present.get(key))
    )
    return Deployed(
        name=connector.name,
        change="changed" if differing else "as it should be",
        fields=differing,
    )
