"""The sections that the settings of a service have: its database, and one for each role."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import model_validator

from orderflow.messaging.settings import DatabaseSettings, RoleSection, Section


class RolesSection(Section):
    """
    `ORDERFLOW_<SERVICE>__…`. A subclass adds a section for each of its roles, by the role's name.

    `ports`: each role's default port. It stands in for `<ROLE>__PORT` where that is not set.
    """

    ports: ClassVar[Mapping[str, int]] = {}

    @model_validator(mode="before")
    @classmethod
    def _with_default_ports(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given

        filled = dict(given)
        for role, port in cls.ports.items():
            section = given.get(role, {})
            if isinstance(section, dict):
                filled[role] = {"port": port, **section}
        return filled


class ServiceSection(RolesSection):
    """The section of a service that owns a database."""

    database: DatabaseSettings


class StatefulSection(RolesSection):
    """
    The section of a service whose state is in stores, restored from Kafka. `state_dir`: each slot
    has a directory of its own in it.
    """

    state_dir: Path


class ListenerSection(RoleSection):
    """
    A listener that may choose its group's protocol.

    `classic`: static membership, KIP-345; `consumer`: the next generation's, KIP-848.
    """

    protocol: Literal["classic", "consumer"] = "classic"
