"""
A client of Connect's REST interface: configurations, states, offsets.

A worker answers 409 while it rebalances, for a second or two after each change: such a call is
made again until its time is over.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Self, TypeVar
from urllib.parse import quote

import httpx2
import msgspec

from orderflow.messaging.error_text import error_text
from orderflow.messaging.errors import ConfigurationError, OrderflowError, Unavailable
from orderflow.messaging.http.client import BoundedClient

T = TypeVar("T")

RESOURCE = "connect"
AGAIN_AFTER_S = 0.3
TROUBLE_CHARACTERS_MAX = 2_000


class NoConnector(OrderflowError):
    """The worker has no connector of that name. The message names those that it has."""


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """One task. `state`: RUNNING, FAILED, PAUSED, UNASSIGNED …; `trace`: why it failed."""

    id: int
    state: str
    worker_id: str = ""
    trace: str = ""


class ConnectorState(msgspec.Struct, frozen=True, kw_only=True):
    """A connector with its tasks. `kind`: sink or source."""

    name: str
    kind: str
    state: str
    trace: str = ""
    tasks: tuple[Task, ...] = ()

    @property
    def is_running(self) -> bool:
        """Whether the connector and all its tasks run, and there is one at least."""
        return (
            self.state == "RUNNING"
            and bool(self.tasks)
            and all(task.state == "RUNNING" for task in self.tasks)
        )

    @property
    def has_failed(self) -> bool:
        """Whether the connector or a task of it has given up, and waits to be restarted."""
        return "FAILED" in (self.state, *(task.state for task in self.tasks))

    @property
    def reason(self) -> str:
        """Why it does not run, in Connect's own words; empty if it runs or nobody says."""
        return next(
            (cause_of(trace) for trace in (self.trace, *(t.trace for t in self.tasks)) if trace),
            "",
        )


class FieldError(msgspec.Struct, frozen=True, kw_only=True):
    """What Connect says of one field of a configuration."""

    name: str
    errors: tuple[str, ...]


class _Half(msgspec.Struct):
    state: str
    worker_id: str = ""
    trace: str = ""


class _Status(msgspec.Struct):
    name: str
    connector: _Half
    tasks: list[Task]
    type: str = ""


class _Expanded(msgspec.Struct):
    status: _Status


class _Value(msgspec.Struct):
    name: str
    errors: list[str] = []


class _Config(msgspec.Struct):
    value: _Value


class _Validation(msgspec.Struct):
    configs: list[_Config]


class _Trouble(msgspec.Struct):
    message: str = ""


class ConnectClient:
    """
    The REST interface of one worker, at `url`. Threads may share it.

    Every call ends within `within_s` and raises Unavailable when the worker does not answer,
    or answers with what only time heals.
    """

    def __init__(
        self, url: str, *, within_s: float = 30.0, transport: httpx2.BaseTransport | None = None
    ) -> None:
        self.url = url.rstrip("/")
        self._within_s = within_s
        self._http = BoundedClient(
            within_s=within_s, timeout=within_s, transport=transport, trust_env=False
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def states(self) -> list[ConnectorState]:
        """All connectors with their tasks, by name."""
        answer = self._call("GET", "/connectors?expand=status", dict[str, _Expanded])
        return [_state(each.status) for _, each in sorted(answer.items())]

    def state(self, name: str) -> ConnectorState:
        """One connector. Raises NoConnector."""
        return _state(self._call("GET", f"{_path(name)}/status", _Status))

    def config(self, name: str) -> dict[str, str] | None:
        """What the worker has; None if it has no connector of that name."""
        try:
            return self._call("GET", f"{_path(name)}/config", dict[str, str])
        except NoConnector:
            return None

    def validate(self, config: Mapping[str, str]) -> list[FieldError]:
        """
        The fields that Connect refuses, each with its own sentences; empty if it takes them all.

        Raises ConfigurationError for what it does not even read: an unknown class, say.
        """
        plugin = config["connector.class"].rpartition(".")[2]
        answer = self._call(
            "PUT", f"/connector-plugins/{quote(plugin)}/config/validate", _Validation, config
        )
        return [
            FieldError(name=field.value.name, errors=tuple(field.value.errors))
            for field in answer.configs
            if field.value.errors
        ]

    def put(self, name: str, config: Mapping[str, str]) -> None:
        """Make the connector, or change it. Raises ConfigurationError if it is refused."""
        self._call("PUT", f"{_path(name)}/config", msgspec.Raw, config)

    def delete(self, name: str) -> None:
        """Delete the connector; its offsets stay. Raises NoConnector."""
        self._call("DELETE", _path(name), msgspec.Raw)

    def restart(self, name: str, *, only_failed: bool) -> None:
        """Restart the connector with its tasks. Raises NoConnector."""
        failed = "true" if only_failed else "false"
        self._call(
            "POST", f"{_path(name)}/restart?includeTasks=true&onlyFailed={failed}", msgspec.Raw
        )

    def stop(self, name: str) -> None:
        """Let its tasks end; its configuration and offsets stay. Raises NoConnector."""
        self._call("PUT", f"{_path(name)}/stop", msgspec.Raw)

    def resume(self, name: str) -> None:
        """Undo `stop`. Raises NoConnector."""
        self._call("PUT", f"{_path(name)}/resume", msgspec.Raw)

    def offsets(self, name: str) -> list[dict[str, Any]]:
        """Where the connector is, as Connect words it: `partition` and `offset`."""
        answer = self._call("GET", f"{_path(name)}/offsets", dict[str, list[dict[str, Any]]])
        return answer.get("offsets", [])

    def reset_offsets(self, name: str) -> None:
        """Begin anew, from the first record. The connector must be stopped. Raises NoConnector."""
        self._call("DELETE", f"{_path(name)}/offsets", msgspec.Raw)

    def move_offsets(self, name: str, offsets: list[dict[str, Any]]) -> None:
        """Set where it goes on, as `offsets` words it. The connector must be stopped."""
        self._call("PATCH", f"{_path(name)}/offsets", msgspec.Raw, {"offsets": offsets})

    def _call(self, method: str, path: str, kind: type[T], body: Any = None) -> T:
        deadline = time.monotonic() + self._within_s
        while True:
            answer = self._send(method, path, body)
            if answer.status_code != HTTPStatus.CONFLICT or time.monotonic() > deadline:
                return self._read(answer, kind, f"{method} {path}")
            time.sleep(AGAIN_AFTER_S)

    def _send(self, method: str, path: str, body: Any) -> httpx2.Response:
        try:
            return self._http.request(method, self.url + path, json=body)
        except httpx2.HTTPError as error:
            raise Unavailable(
                f"Connect at {self.url} did not answer {method} {path}: {error_text(error)}",
                resource=RESOURCE,
                reason="does not answer",
            ) from error

    def _read(self, answer: httpx2.Response, kind: type[T], what: str) -> T:
        if answer.is_success:
            try:
                return msgspec.json.decode(answer.content or b"null", type=kind)
            except msgspec.DecodeError:
                raise ConfigurationError(
                    f"what {self.url} answers is not Connect's: is the address right?"
                ) from None

        said = _said(answer)
        match answer.status_code:
            case HTTPStatus.NOT_FOUND:
                raise NoConnector(said or f"Connect has nothing for {what}")
            case HTTPStatus.BAD_REQUEST | HTTPStatus.UNPROCESSABLE_ENTITY:
                raise ConfigurationError(f"Connect refuses {what}: {said}")
            case status:
                raise Unavailable(
                    f"Connect answered {status} to {what}: {said}",
                    resource=RESOURCE,
                    reason=f"answers {status}",
                )


def cause_of(trace: str) -> str:
    """
    The innermost cause that a Java stack names, in one line, without the class's package.

    That is what an operator can mend; what wraps it says that a task was killed.
    """
    lines = trace.splitlines()
    causes = [line for line in lines if line.startswith("Caused by: ")]
    cause = (
        (causes or lines[:1] or [""])[-1]
        .removeprefix("Caused by: ")
        .strip()[:TROUBLE_CHARACTERS_MAX]
    )
    name, colon, words = cause.partition(": ")
    return f"{name.rpartition('.')[2]}{colon}{words}"


def _state(status: _Status) -> ConnectorState:
    return ConnectorState(
        name=status.name,
        kind=status.type,
        state=status.connector.state,
        trace=status.connector.trace,
        tasks=tuple(status.tasks),
    )


def _path(name: str) -> str:
    return f"/connectors/{quote(name, safe='')}"


def _said(answer: httpx2.Response) -> str:
    try:
        words = msgspec.json.decode(answer.content, type=_Trouble).message
    except msgspec.DecodeError:
        words = answer.text
    return " ".join(words.split())[:TROUBLE_CHARACTERS_MAX]
