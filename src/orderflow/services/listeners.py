"""`python -m orderflow.services.listeners`: all tables of listeners, as one JSON text."""

from __future__ import annotations

import pkgutil
import sys
from importlib import import_module

import msgspec

from orderflow.contracts.roster import ROSTER, Roster
from orderflow.messaging.documents.listener_table import ListenerRow, listener_row


def rows(roster: Roster = ROSTER) -> tuple[ListenerRow, ...]:
    """One row for each service that listens, in the roster's order. None is run here."""
    return tuple(_row(member.package) for member in roster if member.listens)


def _row(package: str) -> ListenerRow:
    # All modules: an error of the service is known once its module is.
    for module in pkgutil.walk_packages(import_module(package).__path__, f"{package}."):
        if not module.name.endswith("__main__"):
            _known(module.name)
    return listener_row(import_module(f"{package}.listeners").LISTENER, package=package)


def _known(name: str) -> None:
    """Import a module, unless it needs a package that is only installed on demand."""
    try:
        import_module(name)
    except ModuleNotFoundError as missing:
        if (missing.name or "").startswith("orderflow"):
            raise


if __name__ == "__main__":
    sys.stdout.buffer.write(msgspec.json.encode(rows()))
