"""How a service's role comes to run: what it is built from, and the thread that most roles are."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

import msgspec

from orderflow.messaging.errors import ConfigurationError
from orderflow.messaging.http.server import Fail, Role
from orderflow.messaging.process.settings import RolesSection, ServiceSection
from orderflow.messaging.settings import (
    ApiSection,
    DatabaseSettings,
    ProcessSettings,
    RoleSection,
)
from orderflow.messaging.telemetry import logger
from orderflow.messaging.work.reasons import Reasons

STOP_WITHIN_S = 5.0
"""After the HTTP edge's 4 s: together below the 10 s that a stop may take."""

S = TypeVar("S", bound=ProcessSettings)
S_co = TypeVar("S_co", bound=ProcessSettings, covariant=True)

log = logger("process")


class Launch(msgspec.Struct, Generic[S_co], frozen=True, kw_only=True):
    """
    One role of a service, about to be built for this process.

    `slot`: which worker of its kind it is. `fail` ends the process with the error it is given.
    """

    service: str
    role: str
    settings: S_co
    section: RolesSection
    slot: int
    fail: Fail

    @property
    def database(self) -> DatabaseSettings:
        """The service's database. Raises ConfigurationError if it has none."""
        if not isinstance(self.section, ServiceSection):
            raise ConfigurationError(f"service {self.service} has no database")
        return self.section.database

    @property
    def role_section(self) -> ApiSection | RoleSection:
        """The role's own part of `section`."""
        section: ApiSection | RoleSection = getattr(self.section, self.role)
        return section


BuildRole = Callable[[Launch[S]], Role]
"""Makes a role, inside the event loop and before anything is started."""


def worker_role(
    launch: Launch[ProcessSettings],
    *,
    run: Callable[[threading.Event], None],
    reasons: Reasons,
    in_slots: bool = False,
) -> Role:
    """
    `run(stop)` on a thread of its own until the event is set. What it raises ends the process.

    `in_slots`: workers of one host have neighbouring ports, each its section's port plus its slot.
    A worker that does not come to its end within 5 s is left to end with the process: nothing it
    has not committed counts.
    """
    name = f"{launch.service}-{launch.role}"
    section = launch.role_section
    stop = threading.Event()

    def work() -> None:
        try:
            run(stop)
        except BaseException as error:  # noqa: BLE001 - the thread's end ends the process, in `run`
            launch.fail(error)

    thread = threading.Thread(target=work, name=name, daemon=True)

    def all_reasons() -> list[str]:
        # Whatever it says of itself: what has ended does nothing.
        ended = thread.ident is not None and not thread.is_alive()
        return [*reasons(), *([f"{name}: ended"] if ended else [])]

    def close() -> None:
        stop.set()
        thread.join(STOP_WITHIN_S)
        if thread.is_alive():
            log.warning(
                "a role did not stop in time: it ends with the process",
                role=name,
                waited_s=STOP_WITHIN_S,
            )

    return Role(
        name=name,
        host=section.host,
        port=section.port + (launch.slot if in_slots else 0),
        reasons=all_reasons,
        start=thread.start,
        close=close,
    )
