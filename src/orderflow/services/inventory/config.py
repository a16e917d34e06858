"""The inventory service's settings."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from orderflow.contracts import SERVICES
from orderflow.messaging.settings import DatabaseSettings, Port, ProcessSettings, Section
from orderflow.messaging.settings import load as load_settings


class ApiSettings(Section):
    """`body_bytes_max`: a longer request is 413."""

    host: str = "127.0.0.1"
    port: Port = 8082
    body_bytes_max: Annotated[int, Field(ge=1024)] = 65_536


class ListenerSettings(Section):
    """Where a listener of its own answers /livez, /readyz and /metrics: `port` and its slot."""

    host: str = "127.0.0.1"
    port: Port = 8220


class RelaySection(Section):
    """
    Where a relay of its own answers /livez, /readyz and /metrics, and how often the database counts on.

    An older copy of the database is noticed if such a count lies between: one younger than `tick_every_s` is not.
    """

    host: str = "127.0.0.1"
    port: Port = 8092
    tick_every_s: Annotated[float, Field(gt=0, le=3600)] = 60.0


class InventorySettings(Section):
    database: DatabaseSettings
    api: ApiSettings = ApiSettings()
    listener: ListenerSettings = ListenerSettings()
    relay: RelaySection = RelaySection()


class Settings(ProcessSettings):
    inventory: InventorySettings


def load() -> Settings:
    return load_settings(Settings, neighbours={*SERVICES, "psp", "stack", "topics"})
