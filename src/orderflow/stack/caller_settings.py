"""
The settings of whoever calls `orderflow up | start | restart`: passed on or refused, never dropped.

A process of the stack has the environment of `up`. What the caller of `start` or `restart` has set
since goes to that process alone, until `down`. What the stack itself sets (where a process listens,
where its database is) can't be set beside it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from orderflow.contracts.roster import ROSTER
from orderflow.messaging.errors import ConfigurationError
from orderflow.messaging.settings import PREFIX
from orderflow.stack.addresses import process_environment
from orderflow.stack.settings import StackSettings

NOT_FOR_PROCESSES = tuple(
    f"{PREFIX}{section}" for section in ("STACK__", "TEST_STACK", "BOOKS__", "FOLLOWER__")
)


def caller_settings(settings: StackSettings) -> dict[str, str]:
    """
    What the caller has set for processes of the stack.

    Raises ConfigurationError for a setting that the stack would override, with what to set instead.
    """
    given = {
        name: value
        for name, value in os.environ.items()
        if name.upper().startswith(PREFIX) and not name.upper().startswith(NOT_FOR_PROCESSES)
    }

    ours = process_environment(settings)
    overridden = sorted(n for n, value in given.items() if ours.get(n.upper(), value) != value)
    if overridden:
        raise ConfigurationError(
            f"the local stack sets {', '.join(overridden)} itself: unset it; ports and places are "
            f"moved with {PREFIX}STACK__PORTS__…, {PREFIX}STACK__PORT_OFFSET, "
            f"{PREFIX}STACK__STATE_DIR"
        )
    return given


def changed(given: Mapping[str, str], before: Mapping[str, str]) -> list[str]:
    """The settings that are not as they were."""
    return sorted(name for name, value in given.items() if before.get(name) != value)


def unread(names: Iterable[str], service: str) -> list[str]:
    """Those of another service: a process of this one does not read them."""
    others = {member.name for member in ROSTER} - {service}
    return [name for name in names if name[len(PREFIX) :].lower().split("__")[0] in others]
