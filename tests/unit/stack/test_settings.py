"""
The stack's settings: instances that do not mix, ports that move together, servers that are
elsewhere.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from orderflow.messaging.errors import ConfigurationError
from orderflow.stack.addresses import DEFAULT_PAYMENT_METHOD, exports, process_environment
from orderflow.stack.blueprint import everything
from orderflow.stack.parts.zipkin import ENDPOINT, EXPORTER
from orderflow.stack.settings import PROVIDER_URL, PUBLISHER, Ports, from_environment


@pytest.fixture(autouse=True)
def own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORDERFLOW_STACK__STATE_DIR", str(tmp_path))
    for name in (EXPORTER, ENDPOINT):
        monkeypatch.delenv(name, raising=False)


def test_one_broker_and_three_are_two_instances_with_data_of_their_own(tmp_path: Path) -> None:
    assert from_environment(brokers=1).home == tmp_path / "single"
    assert from_environment(brokers=3).home == tmp_path / "cluster"


def test_an_offset_moves_every_port(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORDERFLOW_STACK__PORT_OFFSET", "1000")
    moved, default = from_environment().ports, Ports()
    assert moved.kafka == tuple(port + 1000 for port in default.kafka)
    assert moved.of("order", "api") == default.of("order", "api") + 1000


def test_a_kafka_that_is_elsewhere_is_not_run_here_and_our_processes_are_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ORDERFLOW_KAFKA__BOOTSTRAP_SERVERS", "kafka.example:9092")
    settings = from_environment()
    assert "kafka" not in {part.service for part in everything(settings)}
    assert (
        process_environment(settings)["ORDERFLOW_KAFKA__BOOTSTRAP_SERVERS"] == "kafka.example:9092"
    )


def test_a_payment_provider_that_is_elsewhere_is_not_run_here_and_payment_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ORDERFLOW_PAYMENT__PSP__URL", "https://psp.example")
    settings = from_environment()
    assert "psp" not in settings.services
    assert process_environment(settings)["ORDERFLOW_PAYMENT__PSP__URL"] == "https://psp.example"


def test_a_mail_server_that_is_elsewhere_is_not_run_here_and_notification_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ORDERFLOW_NOTIFICATION__SMTP__HOST", "mail.example")
    monkeypatch.setenv("ORDERFLOW_NOTIFICATION__SMTP__PORT", "25")
    settings = from_environment()
    assert "mail" not in settings.services
    told = process_environment(settings)
    assert told["ORDERFLOW_NOTIFICATION__SMTP__HOST"] == "mail.example"
    assert told["ORDERFLOW_NOTIFICATION__SMTP__PORT"] == "25"


def test_operations_is_told_where_the_order_api_is_unless_that_is_run_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url = "ORDERFLOW_OPERATIONS__ORDER__URL"
    monkeypatch.setenv("ORDERFLOW_STACK__PORT_OFFSET", "1000")
    assert process_environment(from_environment())[url] == "http://127.0.0.1:9080"
    monkeypatch.setenv("ORDERFLOW_STACK__SERVICES", '["kafka", "operations"]')
    assert url not in process_environment(from_environment())


def test_zipkin_runs_only_where_it_is_asked_for_and_then_our_processes_trace_to_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain = from_environment()
    assert "zipkin" not in {part.service for part in everything(plain)}
    assert EXPORTER not in process_environment(plain)
    assert "ZIPKIN_URL" not in exports(plain)

    monkeypatch.setenv("ORDERFLOW_STACK__PORT_OFFSET", "1000")
    traced = from_environment().with_extras(["zipkin"])
    assert traced.with_extras(["zipkin"]) == traced
    (zipkin,) = (part for part in everything(traced) if part.service == "zipkin")
    assert (zipkin.ports, zipkin.awaited) == ((10411,), False)
    told = process_environment(traced)
    assert told[EXPORTER] == "zipkin"
    assert told[ENDPOINT] == "http://127.0.0.1:10411/api/v2/spans"
    assert exports(traced)["ZIPKIN_URL"] == "http://127.0.0.1:10411"


def test_who_exports_elsewhere_goes_on_doing_so_beside_zipkin(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(EXPORTER, "otlp")
    told = process_environment(from_environment().with_extras(["zipkin"]))
    assert EXPORTER not in told
    assert ENDPOINT not in told


def test_zipkin_can_be_named_among_the_services_and_what_does_not_exist_cannot(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ORDERFLOW_STACK__SERVICES", '["postgres", "zipkin"]')
    assert from_environment().services == ("postgres", "zipkin")
    monkeypatch.setenv("ORDERFLOW_STACK__SERVICES", '["jaeger"]')
    with pytest.raises(ConfigurationError, match=r"a stack runs no 'jaeger'; there are: .*zipkin"):
        from_environment()


def test_an_outside_client_is_told_of_every_service_and_of_the_provider(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ORDERFLOW_STACK__PORT_OFFSET", "1000")
    told = exports(from_environment())
    for number, service in enumerate(("order", "payment", "inventory", "notification")):
        assert told[f"{service.upper()}_API_URL"] == f"http://127.0.0.1:{9080 + number}"
        assert (
            told[f"{service.upper()}_DATABASE_URL"]
            == f"postgresql://postgres@127.0.0.1:16432/{service}"
        )
    assert told["PSP_URL"] == "http://127.0.0.1:9089"
    assert told["MAIL_API_URL"] == "http://127.0.0.1:9087"


def test_every_need_names_a_component_that_exists() -> None:
    parts = everything(from_environment(brokers=3))
    assert {need for part in parts for need in part.needs} <= {part.name for part in parts}


def test_no_two_components_listen_on_one_port() -> None:
    ports = [port for part in everything(from_environment(brokers=3)) for port in part.ports]
    assert len(ports) == len(set(ports))


def test_an_offset_beyond_the_last_port_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORDERFLOW_STACK__PORT_OFFSET", "30000")
    monkeypatch.setenv("ORDERFLOW_STACK__PORTS__ORDER_API", "60000")
    with pytest.raises(ConfigurationError, match="PORT_OFFSET"):
        from_environment()


def test_the_simulators_payment_method_is_a_default_only_where_the_simulator_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert process_environment(from_environment())[DEFAULT_PAYMENT_METHOD] == "pm_ok"
    monkeypatch.setenv(DEFAULT_PAYMENT_METHOD, "card")
    assert process_environment(from_environment())[DEFAULT_PAYMENT_METHOD] == "card"
    monkeypatch.delenv(DEFAULT_PAYMENT_METHOD)
    monkeypatch.setenv(PROVIDER_URL, "https://provider.example")
    assert DEFAULT_PAYMENT_METHOD not in process_environment(from_environment())


def test_debezium_as_the_publisher_brings_its_worker_which_waits_for_the_caretaker() -> None:
    """So the worker also stops before it, and before PostgreSQL."""
    plain = from_environment()
    assert plain.with_extras(["relay"]) == plain
    assert plain.publisher == "relay"

    debezium = plain.with_extras(["debezium"])
    assert debezium.publisher == "debezium"
    assert process_environment(debezium)[PUBLISHER] == "debezium"
    (worker,) = (part for part in everything(debezium) if part.name == "connect")
    assert "order-relay" in worker.needs
    (worker,) = (
        part for part in everything(plain.with_extras(["connect"])) if part.name == "connect"
    )
    assert "order-relay" not in worker.needs
