"""The whole stack as one list, in the order in which it reads; `needs` say what may start when."""

from __future__ import annotations

from orderflow.contracts.roster import ROSTER, Roster
from orderflow.stack.parts import connect, kafka, postgres, registry, services, zipkin
from orderflow.stack.settings import StackSettings
from orderflow.stack.supervise.component import Component


def infrastructure(settings: StackSettings, *, databases: tuple[str, ...] = ()) -> list[Component]:
    """Kafka, PostgreSQL and the registry, and nothing of ours."""
    return [
        *kafka.components(settings),
        *postgres.components(settings, databases=(registry.DATABASE, *databases)),
        *registry.components(settings),
    ]


def service_of(settings: StackSettings, process: str) -> str:
    """The service that a process of this instance belongs to; empty if it has none of that name."""
    return next((part.service for part in everything(settings) if part.name == process), "")


def everything(settings: StackSettings, roster: Roster = ROSTER) -> list[Component]:
    """What `orderflow up` runs: all of it, or the services that the settings name."""
    databases = tuple(member.name for member in roster if member.has_database)
    components = [
        *infrastructure(settings, databases=databases),
        *services.deploy_steps(settings),
        *services.components(settings, roster),
        *connect.components(settings),
        *zipkin.components(settings),
    ]
    return [part for part in components if part.service in settings.services]
