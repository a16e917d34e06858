"""
A service as a value, and its process: some of its roles as threads, one HTTP port, one end.

`--roles api,listener --slot 0`. Roles can run together or apart, and each scales by more processes.
The port is the API's if that is among the roles, else the first role's; `/readyz` there says what
any role misses. A role that can't go on ends the whole process; a supervisor starts it again.

Exit codes: 0 stopped on request; 2 a setting is wrong; 3 refused, because going on could lose or
repeat, or fenced by another process in this slot; 1 anything else.
"""

from __future__ import annotations

import argparse
import faulthandler
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Generic

import msgspec

from orderflow.messaging import postgres
from orderflow.messaging.database_variables import forget_database_variables
from orderflow.messaging.errors import (
    ConfigurationError,
    Fenced,
    OrderflowError,
    Refused,
    Transient,
    plain,
)
from orderflow.messaging.http.server import Fail, Role, serve
from orderflow.messaging.process.role import BuildRole, Launch, S
from orderflow.messaging.process.settings import RolesSection, ServiceSection
from orderflow.messaging.settings import load
from orderflow.messaging.telemetry import configure, logger
from orderflow.messaging.telemetry.traces import configure_traces
from orderflow.messaging.work.patience import Patience

MIGRATE = "migrate"

log = logger("process")


class Service(msgspec.Struct, Generic[S], frozen=True, kw_only=True):
    """
    Everything that `run` needs to know of a service.

    `roles`: how each is built; without `--roles` those of `default_roles` run, or all of them.
    `migrations`: directories of SQL for its database. The role `migrate` applies them, after
    `deploy`, which makes whatever else the service needs and returns the names of it; then it ends.
    `neighbours`: top-level sections of other processes' settings, which may stand in the same
    environment; a `guest` of somebody else's system does not know them (see `settings.load`).
    `section_name`: that of its own, if it is not the service's. `program`: how the service is
    called on the command line.
    """

    name: str
    program: str
    settings: type[S]
    roles: Mapping[str, BuildRole[S]]
    default_roles: Sequence[str] = ()
    migrations: Sequence[Path] = ()
    deploy: Callable[[S], list[str]] = lambda _settings: []
    neighbours: Iterable[str] = ()
    guest: bool = False
    section_name: str = ""

    def load(self) -> S:
        """Its settings from the environment. Raises ConfigurationError, naming what is wrong."""
        return load(self.settings, neighbours=self.neighbours, guest=self.guest)

    def section(self, settings: S) -> RolesSection:
        """Its own section of `settings`."""
        section: RolesSection = getattr(settings, self.section_name or self.name)
        return section

    def migrate(self, settings: S, *, patience: Patience | None = None) -> list[str]:
        """
        Deploy, then apply the migrations that are missing; the names of all that was made.

        A database or broker that is away is asked again for up to a minute, or as `patience` has
        it, with a line in the log. Raises Unavailable after that, and at once for what no wait
        mends: a migration that fails, a login that is refused.
        """
        patience = patience or Patience(waiting=_log_waiting)
        made = patience.through(lambda: self.deploy(settings))
        section = self.section(settings)
        if isinstance(section, ServiceSection):
            dsn = section.database.dsn.get_secret_value()
            for directory in self.migrations:
                made += patience.through(partial(postgres.migrate, dsn, directory))
        return made


def run(service: Service[S], arguments: Sequence[str] | None = None) -> int:
    """
    Run the roles that the command line asks for until SIGTERM; the exit code.

    `arguments` stand in for those of the process.
    """
    roles = (MIGRATE, *service.roles)
    default = ",".join(service.default_roles or service.roles)
    parser = argparse.ArgumentParser(prog=service.program)
    parser.add_argument(
        "--roles",
        default=default,
        help=f"comma-separated: {', '.join(roles)} (default: {default})",
    )
    parser.add_argument(
        "--slot", type=int, default=0, help="which worker of its group this is (default: 0)"
    )
    options = parser.parse_args(arguments)

    try:
        _run(service, _checked(options.roles, roles), options.slot)
    except ConfigurationError as error:
        return _end(service.name, error, 2)
    except (Refused, Fenced) as error:
        return _end(service.name, error, 3)
    except OrderflowError as error:
        return _end(service.name, error, 1)
    return 0


def _checked(wanted: str, known: Sequence[str]) -> list[str]:
    roles = wanted.split(",")
    if unknown := set(roles) - set(known):
        raise ConfigurationError(
            f"--roles: unknown {', '.join(sorted(unknown))}; known are {', '.join(known)}"
        )
    return list(dict.fromkeys(roles))


def _run(service: Service[S], roles: Sequence[str], slot: int) -> None:
    if slot < 0:
        raise ConfigurationError(f"--slot: {slot} is not a number from 0")
    if sys.__stderr__ is not None:
        # A crash inside a library in C leaves every thread's stack, not only a signal's number.
        faulthandler.enable(sys.__stderr__)

    settings, forgotten = service.load(), forget_database_variables()
    configure(service.name, settings.telemetry)
    configure_traces(service.name, settings.telemetry.traces)
    if forgotten:
        log.warning("database variables not read", names=forgotten, why="the DSN says it all")

    # Migrations first: a role of the same process may need the tables at once.
    if MIGRATE in roles:
        log.info("migrated", applied=service.migrate(settings))

    running = [role for role in roles if role != MIGRATE]
    if not running:
        return

    def build(fail: Fail) -> Role:
        return together(
            [
                service.roles[role](
                    Launch(
                        service=service.name,
                        role=role,
                        settings=settings,
                        section=service.section(settings),
                        slot=slot,
                        fail=fail,
                    )
                )
                for role in running
            ]
        )

    serve(build)


def together(roles: Sequence[Role]) -> Role:
    """Several roles as one, behind the port of the API, or of the first if there is no API."""

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
    return Role(
        name=face.name,
        host=face.host,
        port=face.port,
        app=face.app,
        reasons=lambda: [reason for role in roles for reason in role.reasons()],
        start=start,
        stopping=stopping,
        close=close,
    )


def _log_waiting(error: Transient, left_s: float) -> None:
    log.warning("waiting", reason=plain(error), why=str(error), at_most_s=round(left_s))


def _end(service: str, error: OrderflowError, code: int) -> int:
    sys.stderr.write(f"{service}: {error}\n")
    return code
