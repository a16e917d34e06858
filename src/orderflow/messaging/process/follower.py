"""
A follower in one call: a process for a listener that publishes nothing, with a group and a database of its own.

A table, a handler, and `sys.exit(follow(LISTENER))` are a whole service. `--roles migrate`, once at each deployment,
makes what only this group needs: its dead-letter and replay topics, its inbox, and its own tables if it has migrations;
`--roles listener --slot n` listens. Nobody else is stopped, configured or asked.

Guarantee: that of `InboxOutbox`, for every record that the topics still hold, the ones from before it among them.
Followers that also have an API are built of `roles`, as any service.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from orderflow.messaging import postgres
from orderflow.messaging.errors import ConfigurationError
from orderflow.messaging.kafka.admin import Admin, apply, plan
from orderflow.messaging.kafka.group_topics import group_topics
from orderflow.messaging.kafka.topics import TopicSettings
from orderflow.messaging.listener import InboxOutbox, Listener
from orderflow.messaging.process.main import main
from orderflow.messaging.process.role import Fail, Role
from orderflow.messaging.process.roles import listener_role
from orderflow.messaging.schemas.catalogue import SchemaCatalogue
from orderflow.messaging.settings import (
    DatabaseSettings,
    Port,
    ProcessSettings,
    RoleSection,
    Section,
    load,
)

INBOX = Path(postgres.__file__).parent / "migrations"
NO_SCHEMAS = SchemaCatalogue((), {})
"""Records say by which schema they were written; only who writes some needs a catalogue."""


class ListenerSettings(RoleSection):
    port: Port = 8290


class FollowerSection(Section):
    """`ORDERFLOW_FOLLOWER__…`, whatever the follower is called."""

    database: DatabaseSettings
    listener: ListenerSettings = ListenerSettings()


class FollowerSettings(ProcessSettings):
    """A follower's process. `topics` says how its own are made."""

    follower: FollowerSection
    topics: TopicSettings = TopicSettings()


def follow(
    listener: Listener,
    *,
    migrations: Path | None = None,
    neighbours: Iterable[str] = (),
    arguments: Sequence[str] | None = None,
) -> int:
    """
    Run what the command line asks for until SIGTERM; the exit code, as `process` has it.

    `migrations`: the tables that the handler writes to. `neighbours`: sections of others' settings that may stand
    in the same environment. Raises ConfigurationError for a listener that publishes, or has no inbox.
    """
    if listener.publishes or not isinstance(listener.delivery, InboxOutbox):
        raise ConfigurationError(
            f"listener {listener.name}: a follower has an inbox, and publishes nothing"
        )

    def settings() -> FollowerSettings:
        return load(FollowerSettings, neighbours=neighbours)

    def migrate(found: FollowerSettings) -> list[str]:
        return [*_make_topics(listener, found), *_make_tables(found, migrations)]

    def build(found: FollowerSettings, _role: str, slot: int, fail: Fail) -> Role:
        return listener_role(
            listener,
            settings=found,
            catalogue=NO_SCHEMAS,
            section=found.follower.listener,
            slot=slot,
            fail=fail,
            database=found.follower.database,
        )

    return main(
        listener.name,
        roles=("listener",),
        default="migrate,listener",
        settings=settings,
        build=build,
        migrate=migrate,
        arguments=arguments,
    )


def _make_topics(listener: Listener, settings: FollowerSettings) -> list[str]:
    """Those of the group alone; the topics that it hears are somebody else's, and left as they are."""
    admin = Admin(settings.kafka)
    planned = plan(group_topics(listener.topics, listener.group), admin, settings.topics)
    apply(planned, admin)
    return [creation.topic for creation in planned.creations]


def _make_tables(settings: FollowerSettings, migrations: Path | None) -> list[str]:
    dsn = settings.follower.database.dsn.get_secret_value()
    return [
        one
        for directory in (INBOX, migrations)
        if directory
        for one in postgres.migrate(dsn, directory)
    ]
