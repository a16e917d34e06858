"""
A follower in one call: a service that listens, publishes nothing, and has a database of its own.

A listener and `sys.exit(follow(LISTENER))` are the whole of it. `--roles migrate`, once at each
deployment, makes what only its group needs: dead-letter and replay topics, inbox, and its own
tables if it has migrations. `--roles listener --slot n` listens. No other process is stopped or
configured.

Guarantee: that of `InboxOutbox`, for every record that the topics still hold, those from before it
included. A follower that also has an API is a `Service`, as any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from orderflow.messaging import postgres
from orderflow.messaging.errors import ConfigurationError
from orderflow.messaging.kafka.admin import Admin, bring_about
from orderflow.messaging.kafka.group_topics import group_topics
from orderflow.messaging.kafka.topics import TopicSettings
from orderflow.messaging.listener import InboxOutbox, Listener
from orderflow.messaging.process.roles import listener_role
from orderflow.messaging.process.service import MIGRATE, Service, run
from orderflow.messaging.process.settings import ServiceSection
from orderflow.messaging.schemas.catalogue import SchemaCatalogue
from orderflow.messaging.settings import ProcessSettings, RoleSection

INBOX = Path(postgres.__file__).parent / "migrations"
NO_SCHEMAS = SchemaCatalogue((), {})
"""A record says by which schema it was written; only a writer needs a catalogue."""


class FollowerSection(ServiceSection):
    """`ORDERFLOW_FOLLOWER__…`, whatever the follower is called."""

    ports: ClassVar = {"listener": 8290}

    listener: RoleSection


class FollowerSettings(ProcessSettings):
    """A follower's process. `topics`: how those of its group are made."""

    follower: FollowerSection
    topics: TopicSettings = TopicSettings()


def follow(
    listener: Listener,
    *,
    migrations: Path | None = None,
    arguments: Sequence[str] | None = None,
) -> int:
    """
    Run what the command line asks for until SIGTERM; the exit code, as `service` lists them.

    `migrations`: the tables that the handler writes to. Other processes' settings may stand in the
    same environment. Raises ConfigurationError for a listener that publishes, or has no inbox.
    """
    if listener.publishes or not isinstance(listener.delivery, InboxOutbox):
        raise ConfigurationError(
            f"listener {listener.name}: a follower has an inbox, and publishes nothing"
        )

    def make_topics(settings: FollowerSettings) -> list[str]:
        # Only those of its group: the topics it listens to belong to whoever publishes there.
        wanted = group_topics(listener.topics, listener.group)
        planned = bring_about(wanted, Admin(settings.kafka), settings.topics)
        return [creation.topic for creation in planned.creations]

    service = Service(
        name=listener.name,
        program=listener.name,
        settings=FollowerSettings,
        roles={"listener": listener_role(listener, catalogue=NO_SCHEMAS)},
        default_roles=(MIGRATE, "listener"),
        migrations=(INBOX, *((migrations,) if migrations else ())),
        deploy=make_topics,
        guest=True,
        section_name="follower",
    )
    return run(service, arguments)
