"""The fulfilment service's settings."""

from __future__ import annotations

from typing import ClassVar

from orderflow.contracts import roster
from orderflow.messaging.process.settings import ServiceSection
from orderflow.messaging.settings import ApiSection, ProcessSettings, RoleSection


class FulfilmentSettings(ServiceSection):
    ports: ClassVar = roster.row("fulfilment").ports

    api: ApiSection
    listener: RoleSection


class Settings(ProcessSettings):
    fulfilment: FulfilmentSettings
