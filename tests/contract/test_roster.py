"""The roster: a row for each folder in `services/`, and each row as the service really is."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

import pytest

import orderflow.services
from orderflow.contracts.roster import ROSTER, Row
from orderflow.messaging.listener import Listener
from orderflow.messaging.process.service import Service

CONFIGURATION = Path(__file__).parents[2] / "docs" / "configuration.md"

ROWS = pytest.mark.parametrize("row", ROSTER, ids=lambda row: row.name)
LISTENING_ROWS = pytest.mark.parametrize(
    "row", [row for row in ROSTER if row.listens], ids=lambda row: row.name
)


def service_of(row: Row) -> Service[Any]:
    service: Service[Any] = import_module(f"{row.package}.bootstrap").SERVICE
    return service


def test_there_is_a_row_for_each_folder_and_a_folder_for_each_row() -> None:
    folders = {module.name for module in iter_modules(orderflow.services.__path__) if module.ispkg}
    assert sorted(row.name for row in ROSTER) == sorted(folders)


@ROWS
def test_a_row_is_what_the_service_runs(row: Row) -> None:
    service = service_of(row)
    assert (service.name, tuple(service.roles)) == (row.name, row.roles)
    assert service.program == f"python -m {row.package}"


@LISTENING_ROWS
def test_a_row_is_what_the_listener_listens_to_and_publishes(row: Row) -> None:
    listener: Listener = import_module(f"{row.package}.listeners").LISTENER
    assert (listener.name, listener.group) == (row.name, row.group)
    assert (listener.topics, listener.publishes) == (row.listens_to, row.publishes)


@LISTENING_ROWS
def test_a_service_is_the_only_writer_of_what_it_publishes(row: Row) -> None:
    listener: Listener = import_module(f"{row.package}.listeners").LISTENER
    assert {topic.source for topic in row.publishes} <= {listener.source}
    assert not any(
        set(row.publishes) & set(another.publishes) for another in ROSTER if another is not row
    )


@ROWS
def test_a_row_has_a_group_and_topics_if_the_service_has_a_listener_and_only_then(row: Row) -> None:
    has_listener = find_spec(f"{row.package}.listeners") is not None
    assert (row.listens, bool(row.listens_to)) == (has_listener, has_listener)
    assert row.listens or not (row.publishes or row.internal or row.has_stores)


@ROWS
def test_every_role_runs_in_one_process_of_the_local_stack(row: Row) -> None:
    assert sorted(role for process in row.runs for role in process.roles) == sorted(row.roles)


@ROWS
def test_a_service_without_ports_in_its_settings_has_those_of_its_row(
    row: Row, monkeypatch: pytest.MonkeyPatch
) -> None:
    section = f"ORDERFLOW_{row.name.upper()}"
    if row.has_database:
        monkeypatch.setenv(f"{section}__DATABASE__DSN", "postgresql://nowhere/none")
    # A section that is there for another setting still has its own default port.
    monkeypatch.setenv(f"{section}__{row.roles[-1].upper()}__HOST", "127.0.0.2")
    service = service_of(row)
    settings = service.section(service.load())
    assert {role: getattr(settings, role).port for role in row.roles} == row.ports


@ROWS
def test_the_configuration_document_has_the_ports_of_the_row(row: Row) -> None:
    listed = dict(
        re.findall(
            rf"`ORDERFLOW_{row.name.upper()}__([A-Z]+)__PORT` \| `(\d+)`", CONFIGURATION.read_text()
        )
    )
    assert {role: int(listed[role.upper()]) for role in row.roles} == row.ports


def test_no_two_roles_have_one_port() -> None:
    ports = [port for row in ROSTER for port in row.ports.values()]
    assert len(ports) == len(set(ports))


@pytest.mark.parametrize("module", ["topics", "roster", "events", "schemas"])
def test_the_published_language_loads_no_driver(module: str) -> None:
    loaded = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import sys, orderflow.contracts.{module}; print(*sys.modules)",
        ],
        check=True,
        capture_output=True,
        text=True,
        timeout=30,
    ).stdout.split()
    drivers = {"psycopg", "psycopg_pool", "yoyo", "confluent_kafka", "fastavro", "starlette"}
    assert drivers & set(loaded) == set()
