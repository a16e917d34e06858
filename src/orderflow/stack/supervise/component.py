"""A component of the stack as data: how to start a process, how to probe it, how to end it."""

from __future__ import annotations

import http.client
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from orderflow.messaging.work.reasons import Degraded
from orderflow.stack.ports import HOST, is_open
from orderflow.stack.supervise.health_answer import why_not_ready

PROBE_TIMEOUT_S = 2.0
BODY_MAX = 64 * 1024
"""Bytes of a health answer that are read: a document that is cut off says nothing."""

Probe = Callable[[], str]
"""Returns what is wrong, in a few words; an empty string when nothing is. `Degraded`: it is up."""


@dataclass(frozen=True, slots=True)
class Command:
    """A program to run, as `user` if there is one."""

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: str = "/"
    user: str | None = None


@dataclass(frozen=True, slots=True)
class Component:
    """
    A process of the stack, or (`once`) a step that has to succeed before others can start.

    `needs` name the components that must be ready, or done, first; they also stop later. `prepare`
    runs before every start, `finish` after a step has succeeded; a step is left out if its
    `is_done` is true. What is not `awaited` starts once all else is up, and the stack is up without
    it. `stop_signals` are sent in turn, each with its patience in seconds; then
    SIGKILL. `ready_line` must appear in the log of this start.
    """

    name: str
    service: str
    role: str
    command: Callable[[], Command]
    needs: tuple[str, ...] = ()
    slot: int = 0
    address: str = ""
    ports: tuple[int, ...] = ()
    once: bool = False
    awaited: bool = True
    is_done: Callable[[], bool] = lambda: False
    prepare: Callable[[], None] = lambda: None
    finish: Callable[[], None] = lambda: None
    probe: Probe = lambda: ""
    ready_line: str = ""
    start_within_s: float = 90.0
    stop_signals: tuple[tuple[int, float], ...] = ((signal.SIGTERM, 15.0),)
    orphan_signal: int = signal.SIGKILL


def port_probe(port: int) -> Probe:
    """Nothing is wrong while somebody accepts connections."""
    return lambda: (
        "" if is_open(port, timeout_s=PROBE_TIMEOUT_S) else f"nothing listens on {HOST}:{port}"
    )


def http_probe(port: int, path: str) -> Probe:
    """
    Nothing is wrong while GET answers 200; `Degraded` if the answer says what a process waits for.
    Connects to the port itself, through no proxy.
    """

    def probe() -> str:
        connection = http.client.HTTPConnection(HOST, port, timeout=PROBE_TIMEOUT_S)
        try:
            connection.request("GET", path)
            # The response is closed too: one that ends with its connection owns the socket.
            with connection.getresponse() as answer:
                body = answer.read(BODY_MAX).decode(errors="replace")
        except (OSError, http.client.HTTPException) as error:
            return f"{path}: {error or type(error).__name__}"
        finally:
            connection.close()

        if answer.status == 200:
            return Degraded("; ".join(_degraded_in(body)))
        return why_not_ready(path, answer.status, body)

    return probe


def _degraded_in(body: str) -> Sequence[str]:
    """What the answer of a process of ours says that it waits for."""
    try:
        return msgspec.json.decode(body, type=_Readiness).degraded
    except msgspec.DecodeError:
        return ()


class _Readiness(msgspec.Struct):
    degraded: Sequence[str] = ()


def plain_environment(**more: str) -> dict[str, str]:
    """The environment of a foreign program: nothing of the user's shell that could change it."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
    return {"LANG": "C.UTF-8", "TZ": "UTC", **kept, **more}


PASSED_ON = ("AWS_", "OTEL_", "SSL_CERT_", "PYTHONPATH")
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
"""For addresses that are not on this machine: nothing here is reached through a proxy."""
_NOT_OURS = ("ORDERFLOW_STACK__", "ORDERFLOW_TEST_STACK")


def own_environment() -> dict[str, str]:
    """
    The environment of a program of ours: its settings, and what a library reads by contract.

    Of the caller's shell it gets nothing else: no `PG…` that completes an address, no encoding or
    warnings of Python. Read at each start, without what is meant for the stack itself and tests.
    """
    kept = {name: value for name, value in os.environ.items() if _is_passed_on(name.upper())}
    return plain_environment(PYTHONUTF8="1", **kept)


def _is_passed_on(name: str) -> bool:
    is_ours = name.startswith("ORDERFLOW_") and not name.startswith(_NOT_OURS)
    return is_ours or name.startswith(PASSED_ON) or name in PROXIES


def make_directory(path: Path, *, mode: int | None = None) -> Path:
    """
    The directory, made with its parents if it was not there, with this mode whatever the umask.

    By default it is ours alone; as root others may pass through it: PostgreSQL's user has to.
    """
    wanted = mode or (0o711 if os.geteuid() == 0 else 0o700)
    for place in reversed([place for place in (path, *path.parents) if not place.exists()]):
        place.mkdir(exist_ok=True)
        place.chmod(wanted)
    return path
