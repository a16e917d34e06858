"""A new service is a folder and a row: everything that lists services derives from the roster."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.support.newcomer import NAME, ROW, Checkout, checkout_with_newcomer

from orderflow.contracts.roster import ROSTER, Row, groups, sections, subscribed, topics
from orderflow.stack.addresses import exports, process_environment
from orderflow.stack.blueprint import everything
from orderflow.stack.parts.jars import default_cache_dir
from orderflow.stack.settings import StackSettings, ports_model, services

ROOT = Path(__file__).parents[2]
WITH_NEWCOMER = (*ROSTER, ROW)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    return checkout_with_newcomer(tmp_path_factory.mktemp("checkout"))


@pytest.fixture
def settings(tmp_path: Path) -> StackSettings:
    ports = ports_model(WITH_NEWCOMER)()
    return StackSettings.model_construct(
        home=tmp_path, cache_dir=default_cache_dir(), services=services(WITH_NEWCOMER), ports=ports
    )


def test_its_group_has_its_topics_and_those_of_its_dead_letters() -> None:
    assert groups(WITH_NEWCOMER)[ROW.group] == ROW.listens_to
    assert subscribed(ROW.group, WITH_NEWCOMER) == (
        "order-events",
        "order-events.parcels-service.replay",
        "inventory",
        "inventory.parcels-service.replay",
    )
    added = {topic.name for topic in topics(WITH_NEWCOMER)} - {topic.name for topic in topics()}
    assert added == {
        f"{topic}.parcels-service.{kind}"
        for topic in ("order-events", "inventory")
        for kind in ("dlt", "replay")
    }


def test_its_settings_may_stand_in_every_environment() -> None:
    assert set(sections(WITH_NEWCOMER)) - set(sections()) == {NAME}


def test_the_local_stack_runs_it_on_the_port_of_its_row(settings: StackSettings) -> None:
    parts = {part.name: part for part in everything(settings, WITH_NEWCOMER)}
    process, migration = parts[NAME], parts[f"{NAME}-migrate"]
    assert (process.role, process.ports, process.needs) == (
        "api,listener",
        (8088,),
        ("topics", "schemas", f"{NAME}-migrate"),
    )
    assert migration.needs == ("databases",)
    assert process.command().argv[1:] == (
        "-m",
        "orderflow.services.parcels",
        "--roles",
        "api,listener",
    )


def test_its_own_processes_find_their_port_and_database(settings: StackSettings) -> None:
    environment = process_environment(settings, WITH_NEWCOMER)
    assert environment["ORDERFLOW_PARCELS__API__PORT"] == "8088"
    assert environment["ORDERFLOW_PARCELS__DATABASE__DSN"].endswith("/parcels")


def test_an_outside_client_finds_it(settings: StackSettings) -> None:
    assert exports(settings, WITH_NEWCOMER)["PARCELS_API_URL"] == "http://127.0.0.1:8088"


def test_without_a_database_it_has_a_directory_for_its_state_and_nothing_to_migrate(
    settings: StackSettings,
) -> None:
    roster = (*ROSTER, replace(ROW, has_database=False))
    parts = {part.name: part for part in everything(settings, roster)}
    assert f"{NAME}-migrate" not in parts
    assert parts[NAME].needs == ("topics", "schemas")

    environment = process_environment(settings, roster)
    assert environment["ORDERFLOW_PARCELS__STATE_DIR"] == str(settings.data / NAME)
    assert "ORDERFLOW_PARCELS__DATABASE__DSN" not in environment
    assert "PARCELS_DATABASE_URL" not in exports(settings, roster)


def test_without_a_listener_it_has_no_group_no_topics_and_no_state(settings: StackSettings) -> None:
    member = Row(name=NAME, ports={"watcher": 8088}, has_database=False)
    roster = (*ROSTER, member)
    settings = settings.model_copy(update={"ports": ports_model(roster)()})
    assert (groups(roster), topics(roster)) == (groups(), topics())

    [process] = [part for part in everything(settings, roster) if part.service == NAME]
    assert (process.name, process.role, process.ports) == (NAME, "watcher", (8088,))
    assert {name for name in process_environment(settings, roster) if "PARCELS" in name} == {
        "ORDERFLOW_PARCELS__WATCHER__HOST",
        "ORDERFLOW_PARCELS__WATCHER__PORT",
    }


def test_it_runs_by_its_name_with_the_roles_of_its_row(checkout: Checkout) -> None:
    shown = checkout.run("-m", "orderflow.services.parcels", "--help").stdout
    assert "python -m orderflow.services.parcels" in shown
    assert "migrate, api, listener" in " ".join(shown.split())


def test_the_document_of_topics_has_it(checkout: Checkout) -> None:
    written = checkout.run(
        "-c", "from orderflow.services.asyncapi import text; print(text())"
    ).stdout
    assert {
        "parcels-service.receive.order-events",
        "parcels-service.receive.order-events.parcels-service.replay",
        "parcels-service.send.order-events.parcels-service.dlt",
    } <= set(json.loads(written)["operations"])


def test_its_settings_can_be_set_for_every_process_and_wrong_ones_are_refused(
    checkout: Checkout,
) -> None:
    load = (
        "from orderflow.services.order.bootstrap import SERVICE as order\n"
        "from orderflow.services.parcels.bootstrap import SERVICE as parcels\n"
        "order.load(); settings = parcels.load()\n"
        "print(settings.parcels.api.port, settings.parcels.listener.port)\n"
    )
    environment = {
        "ORDERFLOW_ORDER__DATABASE__DSN": "postgresql://nowhere/order",
        "ORDERFLOW_PARCELS__DATABASE__DSN": "postgresql://nowhere/parcels",
        "ORDERFLOW_PARCELS__LISTENER__PORT": "9001",
    }
    assert checkout.run("-c", load, **environment).stdout.split() == ["8088", "9001"]
    with pytest.raises(AssertionError, match="ORDERFLOW_PARCELS__LISTENER__PROT"):
        checkout.run("-c", load, **environment, ORDERFLOW_PARCELS__LISTENER__PROT="9001")


def test_the_tests_of_the_roster_and_of_the_documents_take_it_up(checkout: Checkout) -> None:
    for name in ("contract", "support"):
        shutil.copytree(ROOT / "tests" / name, checkout.place / "tests" / name, dirs_exist_ok=True)
    for name in ("pyproject.toml", "tests/conftest.py"):
        shutil.copy(ROOT / name, checkout.place / name)

    shown = checkout.run(
        "-m",
        "pytest",
        "-q",
        "-rA",
        "-k",
        NAME,
        "--deselect",
        "tests/contract/test_roster.py::test_the_configuration_document_has_the_ports_of_the_row",
        "tests/contract/test_roster.py",
        "tests/contract/test_openapi_of_services.py",
    ).stdout
    passed = {line.split("::")[1] for line in shown.splitlines() if line.startswith("PASSED")}
    assert {
        f"test_a_row_is_what_the_service_runs[{NAME}]",
        f"test_a_row_is_what_the_listener_listens_to_and_publishes[{NAME}]",
        f"test_the_document_is_valid[{NAME}]",
        f"test_a_path_with_a_slash_too_many_is_not_found_and_not_redirected[{NAME}]",
    } <= passed
