"""Who gives a command at this terminal: sent with every command that is recorded."""

from __future__ import annotations

import getpass

from orderflow.messaging.http.actor import ACTOR_HEADER
from orderflow.messaging.http.parameters import is_identifier


def actor_headers() -> dict[str, str]:
    """The header with the name of this terminal's user; empty if the name is none that fits."""
    name = actor_name()
    return {ACTOR_HEADER: name} if name else {}


def actor_name() -> str:
    """The name of this terminal's user; empty if there is none that fits."""
    try:
        name = getpass.getuser()
    except (OSError, KeyError):
        # A user id without an entry among the system's users, as in a container.
        return ""
    return name if is_identifier(name) else ""
