"""The inventory service's settings."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from orderflow.contracts.roster import SECTIONS
from orderflow.messaging.settings import (
    ApiSection,
    DatabaseSettings,
    Port,
    ProcessSettings,
    RelaySection,
    RoleSection,
    Section,
)
from orderflow.messaging.settings import load as load_settings


class ApiSettings(ApiSection):
    """`body_bytes_max`: a longer request is 413."""

    port: Port = 8082
    body_bytes_max: Annotated[int, Field(ge=1024)] = 65_536


class ListenerSettings(RoleSection):
    port: Port = 8220


class RelaySettings(RelaySection):
    port: Port = 8092


class InventorySettings(Section):
    database: DatabaseSettings
    api: ApiSettings = ApiSettings()
    listener: ListenerSettings = ListenerSettings()
    relay: RelaySettings = RelaySettings()


class Settings(ProcessSettings):
    inventory: InventorySettings


def load() -> Settings:
    return load_settings(Settings, neighbours=SECTIONS)
