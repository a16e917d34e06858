"""The names that a shell completes: of processes, topics, groups, connectors."""

from __future__ import annotations

from collections.abc import Iterable

from orderflow.contracts.roster import ALL_GROUPS, ROSTER, SINKS, TOPICS


def processes(incomplete: str) -> list[str]:
    """Of the instance that runs, or would be started."""
    # Loaded for this alone: a completion of other names is to be quick.
    from orderflow.stack.blueprint import everything  # noqa: PLC0415
    from orderflow.stack.lifecycle import current  # noqa: PLC0415

    parts = everything(current())
    return _beginning(incomplete, (part.name for part in parts if not part.once))


def topics(incomplete: str) -> list[str]:
    return _beginning(incomplete, (topic.name for topic in TOPICS))


def groups(incomplete: str) -> list[str]:
    return _beginning(incomplete, ALL_GROUPS)


def relays(incomplete: str) -> list[str]:
    """The services that have a relay."""
    return _beginning(incomplete, (row.name for row in ROSTER if "relay" in row.roles))


def connectors(incomplete: str) -> list[str]:
    return _beginning(incomplete, (sink.group for sink in SINKS))


def _beginning(incomplete: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]
