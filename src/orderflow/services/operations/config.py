"""The operations service's settings."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from orderflow.books.settings import BooksSection
from orderflow.contracts import roster
from orderflow.messaging.process.settings import RolesSection
from orderflow.messaging.settings import ApiSection, ProcessSettings, RoleSection, Section


class ObserverSection(RoleSection):
    """`every_s`: how often it looks at the cluster."""

    every_s: Annotated[float, Field(ge=0.5, le=300)] = 5.0


class AuditorSection(RoleSection):
    """`every_s`: from the beginning of one audit of the books to that of the next."""

    every_s: Annotated[float, Field(ge=1, le=86_400)] = 60.0


class RestarterSection(RoleSection):
    """
    `connect_url`: the REST interface of the worker whose failed tasks are restarted; without it
    nothing is. `every_s`: how often it looks.
    """

    connect_url: str | None = None
    every_s: Annotated[float, Field(ge=0.5, le=300)] = 5.0


class OrderSection(Section):
    """`url`: the order API, asked which orders are stuck."""

    url: str = "http://127.0.0.1:8080"


class OperationsSettings(RolesSection):
    ports: ClassVar = roster.row("operations").ports

    api: ApiSection
    observer: ObserverSection
    auditor: AuditorSection
    restarter: RestarterSection
    order: OrderSection = OrderSection()


class Settings(ProcessSettings):
    operations: OperationsSettings
    books: BooksSection = BooksSection()
