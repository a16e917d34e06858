"""The revenue service's settings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from orderflow.contracts import roster
from orderflow.messaging.process.settings import StatefulSection
from orderflow.messaging.settings import ApiSection, ProcessSettings, RoleSection


class RevenueSettings(StatefulSection):
    """
    `url`: where other instances reach this one's API; empty: at its own host and port. The same
    after a restart of the slot: the group keeps a member's first address until its session ends.

    `session_s`: after so long without a sign of life an instance's partitions go to the others.
    """

    ports: ClassVar = roster.row("revenue").ports

    api: ApiSection
    listener: RoleSection
    state_dir: Path = Path(".orderflow/state/revenue")
    url: str = ""
    session_s: Annotated[float, Field(ge=6, le=300)] = 10.0


class Settings(ProcessSettings):
    revenue: RevenueSettings
