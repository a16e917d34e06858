"""The fulfilment service's settings."""

from __future__ import annotations

from orderflow.contracts.roster import SECTIONS
from orderflow.messaging.settings import (
    ApiSection,
    DatabaseSettings,
    Port,
    ProcessSettings,
    RoleSection,
    Section,
)
from orderflow.messaging.settings import load as load_settings


class ApiSettings(ApiSection):
    port: Port = 8084


class ListenerSettings(RoleSection):
    port: Port = 8240


class FulfilmentSettings(Section):
    database: DatabaseSettings
    api: ApiSettings = ApiSettings()
    listener: ListenerSettings = ListenerSettings()


class Settings(ProcessSettings):
    fulfilment: FulfilmentSettings


def load() -> Settings:
    return load_settings(Settings, neighbours=SECTIONS)
