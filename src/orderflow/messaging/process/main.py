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
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from orderflow.messaging.errors import ConfigurationError, Fenced, OrderflowError, Refused
from orderflow.messaging.http.health import application
from orderflow.messaging.http.serving import Served, serve
from orderflow.messaging.process.role import Fail, Role
from orderflow.messaging.settings import ProcessSettings
from orderflow.messaging.telemetry import configure, logger

MIGRATE = "migrate"

S = TypeVar("S", bound=ProcessSettings)

log = logger("process")


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
    parser.add_argument(
        "--roles", default=default, help=f"comma-separated: {', '.join(known)} (default: {default})"
    )
    parser.add_argument(
        "--slot", type=int, default=0, help="which worker of its group this is (default: 0)"
    )
    asked = parser.parse_args(arguments)
    try:
        _run(
            service,
            _checked(asked.roles, known),
            asked.slot,
            settings=settings,
            build=build,
            migrate=migrate,
        )
    except ConfigurationError as error:
        return _end(service, error, 2)
    except (Refused, Fenced) as error:
        return _end(service, error, 3)
    except OrderflowError as error:
        return _end(service, error, 1)
    return 0


def _checked(asked: str, known: Sequence[str]) -> list[str]:
    roles = asked.split(",")
    if unknown := set(roles) - set(known):
        raise ConfigurationError(
            f"--roles: unknown {', '.join(sorted(unknown))}; known are {', '.join(known)}"
        )
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

    def stopping() -> None:
        for role in roles:
            role.stopping()

    def close() -> None:
        with ThreadPoolExecutor(len(roles)) as closing:
            for closed in [closing.submit(role.close) for role in roles]:
                closed.result()

    face = next((role for role in roles if role.app), roles[0])
    app = face.app(reasons) if face.app else application(reasons)
    return Served(
        name=face.name,
        host=face.host,
        port=face.port,
        app=app,
        start=start,
        stopping=stopping,
        close=close,
    )


def _end(service: str, error: OrderflowError, code: int) -> int:
    sys.stderr.write(f"{service}: {error}\n")
    return code
