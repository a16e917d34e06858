"""The inventory service's settings."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from orderflow.contracts import roster
from orderflow.messaging.http.bodies import BODY_BYTES_MAX
from orderflow.messaging.process.settings import ServiceSection
from orderflow.messaging.settings import ApiSection, ProcessSettings, RelaySection, RoleSection


class ApiSettings(ApiSection):
    """
    `body_bytes_max`: a longer request is 413. `announce_every_s`: how often an order's decision may
    be announced again; sooner, it is 429.
    """

    body_bytes_max: Annotated[int, Field(ge=1024)] = BODY_BYTES_MAX
    announce_every_s: Annotated[float, Field(ge=0)] = 10.0


class InventorySettings(ServiceSection):
    ports: ClassVar = roster.row("inventory").ports

    api: ApiSettings
    listener: RoleSection
    relay: RelaySection


class Settings(ProcessSettings):
    inventory: InventorySettings
