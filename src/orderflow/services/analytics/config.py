"""The analytics service's settings."""

from __future__ import annotations

from typing import ClassVar

from orderflow.contracts import roster
from orderflow.messaging.process.settings import ServiceSection
from orderflow.messaging.settings import ApiSection, ProcessSettings, RoleSection


class AnalyticsSettings(ServiceSection):
    ports: ClassVar = roster.row("analytics").ports

    api: ApiSection
    listener: RoleSection


class Settings(ProcessSettings):
    analytics: AnalyticsSettings
