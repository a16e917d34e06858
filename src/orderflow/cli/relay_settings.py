"""The relays of the services, as commands reach them: by the settings that the services have."""

from __future__ import annotations

from typing import Any

from pydantic import ConfigDict, create_model

from orderflow.cli.configuration import tool_settings
from orderflow.contracts.known_names import there_are
from orderflow.contracts.operator_commands import OPERATOR_COMMANDS
from orderflow.contracts.roster import ROSTER, SECTIONS
from orderflow.messaging.errors import ConfigurationError
from orderflow.messaging.relay import RelaySettings
from orderflow.messaging.settings import DatabaseSettings, ProcessSettings, Section, load
from orderflow.stack.addresses import database_url
from orderflow.stack.lifecycle import current

RELAYED = tuple(row.name for row in ROSTER if "relay" in row.roles)
"""The services that have a relay."""


class _Database(Section):
    """The database of a service's section; the rest is not read."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    database: DatabaseSettings | None = None


def relay_settings(service: str) -> RelaySettings:
    """
    A service's relay, in the database of its own settings, else in that of the local stack.

    Raises ConfigurationError when there is no such service, or it has no relay.
    """
    if service not in RELAYED:
        raise ConfigurationError(
            f"no service is called {service!r} that has a relay; {there_are(service, RELAYED)}"
        )

    section: dict[str, Any] = {service: (_Database, _Database())}
    model = create_model("Settings", __base__=ProcessSettings, **section)
    database = getattr(load(model, neighbours=SECTIONS), service).database
    return RelaySettings(
        service=service,
        database=database
        or DatabaseSettings.model_validate({"dsn": database_url(current(), service)}),
        kafka=tool_settings(None if database else "postgres").kafka,
        commands=OPERATOR_COMMANDS,
    )
