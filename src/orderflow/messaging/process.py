"""
A service's process: some of its roles as threads, one HTTP port, one end.

`python -m orderflow.services.<service> --roles api,listener --slot 0`. Roles can run together or apart, and each scales
by more processes. The port is the API's if that is among the roles, else the first role's; `/readyz` there tells what
any role misses. A role that can't go on ends the whole process: whoever supervises it starts it again.

Exit codes: 0 stopped on request; 2 a setting is wrong; 3 refused, because going on could lose or repeat, or fenced by
another process in this slot; 1 anything else.
"""

from __future__ import annotations

import argparse
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

import msgspec
from starlette.types import ASGIApp

from orderflow.messaging.errors import ConfigurationError, Fenced, OrderflowError, Refused
from orderflow.messaging.observability import Reasons, application
from orderflow.messaging.relay import Relay
from orderflow.messaging.serving import Served, serve
from orderflow.messaging.settings import ProcessSettings
from orderflow.messaging.telemetry import configure, logger

if TYPE_CHECKING:
    from orderflow.messaging.container import Container
    from orderflow.messaging.container.relayed import Relayed

MIGRATE = "migrate"
STOP_WITHIN_S = 5.0
"""After the edge's 4 s: together below the 10 s that a stop may take."""

Fail = Callable[[BaseException], None]
"""By this a role says that it can't go on; the process ends with the exit code of that error."""

S = TypeVar("S", bound=ProcessSettings)

log = logger("process")


class Role(msgspec.Struct, frozen=True, kw_only=True):
    """
    A part of a service that can run as a process of its own.

    `start` returns at once; `close` within 5 s. `app` only if it has an API: it gets the reasons of all roles of the
    process, so that its `/readyz` speaks for them all.
    """

    name: str
    host: str
    port: int
    start: Callable[[], None]
    close: Callable[[], None]
    reasons: Reasons
    app: Callable[[Reasons], ASGIApp] | None = None


def main(
    service: str,
    *,
    roles: Sequence[str],
    default: str,
    settings: Callable[[], S],
    build: Callable[[S, str, int, Fail], Role],
    migrate: Callable[[S], list[str]] | None = None,
    arguments: Sequence[str] | None = None,
) -> int:
    """
    Run the roles that the command line asks for until SIGTERM; the exit code. `migrate` ends by itself, before others.

    `build(settings, role, slot, fail)` makes one role, inside the event loop and before anything is started.
    """
    known = (MIGRATE, *roles) if migrate else tuple(roles)
    parser = argparse.ArgumentParser(prog=f"python -m orderflow.services.{service}")
    parser.add_argument("--roles", default=default, help=f"comma-separated: {', '.join(known)} (default: {default})")
    parser.add_argument("--slot", type=int, default=0, help="which worker of its group this is (default: 0)")
    asked = parser.parse_args(arguments)
    try:
        _run(service, _checked(asked.roles, known), asked.slot, settings=settings, build=build, migrate=migrate)
    except ConfigurationError as error:
        return _end(service, error, 2)
    except (Refused, Fenced) as error:
        return _end(service, error, 3)
    except OrderflowError as error:
        return _end(service, error, 1)
    return 0


def worker_role(
    name: str, *, host: str, port: int, run: Callable[[threading.Event], None], reasons: Reasons, fail: Fail
) -> Role:
    """
    `run(stop)` on a thread of its own, told to stop by the event. What it raises ends the process.

    A worker that does not come to its end within 5 s is left to end with the process: nothing it has not committed
    counts.
    """
    stop = threading.Event()

    def work() -> None:
        try:
            run(stop)
        except BaseException as error:  # noqa: BLE001 - the thread's end is the process's end: it is told in main
            fail(error)

    thread = threading.Thread(target=work, name=name, daemon=True)

    def close() -> None:
        stop.set()
        thread.join(STOP_WITHIN_S)
        if thread.is_alive():
            log.warning("a role did not stop in time: it ends with the process", role=name, waited_s=STOP_WITHIN_S)

    return Role(name=name, host=host, port=port, start=thread.start, close=close, reasons=reasons)


def relay_role(relay: Relay, *, name: str, host: str, port: int, fail: Fail) -> Role:
    """An outbox's relay."""

    def reasons() -> list[str]:
        health = relay.health
        return [] if health.ready else [f"relay {health.state}: {health.reason}".rstrip(": ")]

    return worker_role(name, host=host, port=port, run=relay.run, reasons=reasons, fail=fail)


def container_role(container: Container | Relayed, *, name: str, host: str, port: int, fail: Fail) -> Role:
    """A listener in its container. Workers of one host have neighbouring ports: give the first one's plus the slot."""
    return worker_role(name, host=host, port=port, run=container.run, reasons=container.reasons, fail=fail)


def _checked(asked: str, known: Sequence[str]) -> list[str]:
    roles = asked.split(",")
    if unknown := set(roles) - set(known):
        raise ConfigurationError(f"--roles: unknown {', '.join(sorted(unknown))}; known are {', '.join(known)}")
    return list(dict.fromkeys(roles))


def _run(
    service: str,
    asked: list[str],
    slot: int,
    *,
    settings: Callable[[], S],
    build: Callable[[S, str, int, Fail], Role],
    migrate: Callable[[S], list[str]] | None,
) -> None:
    if slot < 0:
        raise ConfigurationError(f"--slot: {slot} is not a number from 0")
    loaded = settings()
    configure(service, loaded.telemetry)
    if migrate is not None and MIGRATE in asked:
        log.info("migrated", applied=migrate(loaded))
    running = [role for role in asked if role != MIGRATE]
    if running:
        serve(lambda fail: [_together([build(loaded, role, slot, fail) for role in running])])


def _together(roles: Sequence[Role]) -> Served:
    """The roles behind one port."""

    def reasons() -> list[str]:
        return [reason for role in roles for reason in role.reasons()]

    def start() -> None:
        for role in roles:
            role.start()

    def close() -> None:
        with ThreadPoolExecutor(len(roles)) as closing:
            for closed in [closing.submit(role.close) for role in roles]:
                closed.result()

    face = next((role for role in roles if role.app), roles[0])
    app = face.app(reasons) if face.app else application(reasons)
    return Served(name=face.name, host=face.host, port=face.port, app=app, start=start, close=close)


def _end(service: str, error: OrderflowError, code: int) -> int:
    sys.stderr.write(f"{service}: {error}\n")
    return code
