"""A wrong setting is refused at start, by its name."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orderflow.messaging.errors import ConfigurationError
from orderflow.messaging.settings import DatabaseSettings, ProcessSettings, Section, load


class StoreSection(Section):
    database: DatabaseSettings
    batch_size_max: int = 10


class StoreSettings(ProcessSettings):
    store: StoreSection


@pytest.fixture(autouse=True)
def only_these_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("ORDERFLOW_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("ORDERFLOW_STORE__DATABASE__DSN", "postgresql://127.0.0.1/store")


def test_every_address_can_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORDERFLOW_KAFKA__BOOTSTRAP_SERVERS", "broker-1:9092")
    monkeypatch.setenv("ORDERFLOW_REGISTRY__URL", "https://registry")
    settings = load(StoreSettings)
    assert settings.kafka.bootstrap_servers == "broker-1:9092"
    assert settings.registry.url == "https://registry"
    assert settings.registry.timeout_s == 5.0
    assert settings.store.database.dsn.get_secret_value() == "postgresql://127.0.0.1/store"


@pytest.mark.parametrize(
    "name",
    [
        "ORDERFLOW_KAFAK__BOOTSTRAP_SERVERS",
        "ORDERFLOW_KAFKA__BOOTSTRAP",
        "ORDERFLOW_STORE__DATABASE__DNS",
    ],
)
def test_an_unknown_variable_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "x")
    with pytest.raises(ConfigurationError, match=name):
        load(StoreSettings)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ORDERFLOW_REGISTRY__TIMEOUT_S", "-1"),
        ("ORDERFLOW_STORE__BATCH_SIZE_MAX", "many"),
        ("ORDERFLOW_TELEMETRY__LOG_FORMAT", "xml"),
        ("ORDERFLOW_STORE__DATABASE__POOL_SIZE_MAX", "0"),
    ],
)
def test_a_wrong_value_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=name):
        load(StoreSettings)


def test_a_missing_value_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ORDERFLOW_STORE__DATABASE__DSN")
    with pytest.raises(ConfigurationError, match="ORDERFLOW_STORE"):
        load(StoreSettings)


def test_a_wrong_secret_is_not_repeated_in_the_complaint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORDERFLOW_STORE__BATCH_SIZE_MAX", "hunter2")
    with pytest.raises(ConfigurationError) as refusal:
        load(StoreSettings)
    assert "hunter2" not in str(refusal.value)


def test_a_neighbours_variable_may_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORDERFLOW_PAYMENT__DATABASE__DSN", "x")
    with pytest.raises(ConfigurationError, match="ORDERFLOW_PAYMENT__DATABASE__DSN"):
        load(StoreSettings)
    assert load(StoreSettings, neighbours=["payment"]).store.batch_size_max == 10


def test_a_secret_comes_from_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("ORDERFLOW_STORE__DATABASE__DSN")
    monkeypatch.setenv("ORDERFLOW_SECRETS_DIR", str(tmp_path))
    (tmp_path / "store__database__dsn").write_text("postgresql://from-file")
    assert load(StoreSettings).store.database.dsn.get_secret_value() == "postgresql://from-file"


def test_a_secret_does_not_show_when_settings_are_printed() -> None:
    assert "127.0.0.1/store" not in repr(load(StoreSettings))


SERVICE_LINKS = {
    "ORDERFLOW_PORT": "tcp://10.0.0.1:80",
    "ORDERFLOW_PORT_80_TCP": "tcp://10.0.0.1:80",
    "ORDERFLOW_PORT_80_TCP_PROTO": "tcp",
    "ORDERFLOW_PORT_80_TCP_PORT": "80",
    "ORDERFLOW_PORT_80_TCP_ADDR": "10.0.0.1",
    "ORDERFLOW_SERVICE_HOST": "fd00::1",
    "ORDERFLOW_SERVICE_PORT": "80",
    "ORDERFLOW_SERVICE_PORT_HTTP": "80",
    "ORDERFLOW_STORE_API_SERVICE_HOST": "10.0.0.2",
    "ORDERFLOW_STORE_API_PORT_8080_TCP_ADDR": "10.0.0.2",
    "ORDERFLOW_STORE_API_PORT": "tcp://10.0.0.2:8080",
}


@pytest.mark.parametrize("name", SERVICE_LINKS)
def test_what_kubernetes_tells_of_a_service_of_our_name_passes(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, SERVICE_LINKS[name])
    assert load(StoreSettings).store.batch_size_max == 10


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ORDERFLOW_PORT", "8080"),
        ("ORDERFLOW_STORE_API_PORT", "8080"),
        ("ORDERFLOW_STORE_API_HOST", "10.0.0.2"),
        ("ORDERFLOW_PORT_80_TCP_ADDR", "tcp://10.0.0.1"),
        ("ORDERFLOW_STOER__SERVICE_HOST", "10.0.0.1"),
    ],
)
def test_what_only_looks_like_it_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=name):
        load(StoreSettings)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("ORDERFLOW_STOER__DATABASE__DSN", r"did you mean ORDERFLOW_STORE__…\?"),
        ("ORDERFLOW_STORE__DATABASE__DNS", r"did you mean ORDERFLOW_STORE__DATABASE__DSN\?"),
        ("ORDERFLOW_KAFKA__BOOTSTRAP", r"did you mean ORDERFLOW_KAFKA__BOOTSTRAP_SERVERS\?"),
    ],
)
def test_a_misspelt_name_is_refused_with_the_nearest_that_there_is(
    monkeypatch: pytest.MonkeyPatch, name: str, meant: str
) -> None:
    monkeypatch.setenv(name, "x")
    with pytest.raises(ConfigurationError, match=meant):
        load(StoreSettings)
