"""Which letters are meant, and the desk that has them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from orderflow.cli.acting import actor_name
from orderflow.cli.moments import moment_of
from orderflow.contracts.known_names import there_are
from orderflow.contracts.operator_commands import OPERATOR_COMMANDS
from orderflow.contracts.roster import ALL_GROUPS
from orderflow.contracts.topics import DEAD_LETTER_DISPOSITIONS
from orderflow.messaging.dead_letters.desk import Desk
from orderflow.messaging.dead_letters.letter_place import LetterId
from orderflow.messaging.dead_letters.letters import ANY, LetterFilter
from orderflow.messaging.errors import ConfigurationError
from orderflow.messaging.settings import KafkaSettings

ACTOR_MAX = 200


def desk(kafka: KafkaSettings) -> Desk:
    """The desk for the dead letters of all groups of the roster."""
    groups = {group: [topic.name for topic in topics] for group, topics in ALL_GROUPS.items()}
    return Desk(kafka, groups, DEAD_LETTER_DISPOSITIONS.name, commands=OPERATOR_COMMANDS)


def letter_filter(
    *,
    ids: Sequence[str] = (),
    group: str = "",
    topic: str = "",
    kind: str = "",
    cause: str = "",
    key: str = "",
    order: str = "",
    since: str = "",
    until: str = "",
    parked: bool | None = None,
    now: datetime,
) -> LetterFilter:
    """
    What the options say; an empty one says nothing. Raises ConfigurationError in words for whoever
    typed it.
    """
    if group and group not in ALL_GROUPS:
        raise ConfigurationError(f"there is no group {group}; {there_are(group, ALL_GROUPS)}")
    known = {each.name for topics in ALL_GROUPS.values() for each in topics}
    if topic and topic not in known and not topic.endswith(".dlt"):
        raise ConfigurationError(
            f"no group listens to {topic}; topics are: {', '.join(sorted(known))}"
        )

    return LetterFilter(
        group=group or None,
        topic=topic or None,
        type=kind or None,
        cause=cause or None,
        key=key.encode() if key else None,
        order_id=order or None,
        since=moment_of(since, now=now) if since else None,
        until=moment_of(until, now=now) if until else None,
        ids=frozenset(map(LetterId.parse, ids)) if ids else None,
        parked=parked,
    )


def is_any(chosen: LetterFilter) -> bool:
    """Whether nothing was said: then all letters are meant."""
    return chosen == ANY


def actor(given: str) -> str:
    """Who decides, for the record. Raises ConfigurationError if nobody can be named."""
    name = " ".join((given or actor_name()).split())
    if not name:
        raise ConfigurationError("say who decides, for the record: --as NAME")
    return name[:ACTOR_MAX]
