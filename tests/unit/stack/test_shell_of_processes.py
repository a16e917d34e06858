"""What a process of the local stack gets of the shell that `up` was called in."""

from __future__ import annotations

from pathlib import Path

import pytest

from orderflow.messaging.errors import ConfigurationError
from orderflow.stack.preflight import checkout_name
from orderflow.stack.settings import from_environment
from orderflow.stack.supervise.component import own_environment

PASSED_ON = {
    "ORDERFLOW_ORDER__API__BATCH_MAX": "10",
    "ORDERFLOW_SECRETS_DIR": "/run/secrets",
    "AWS_ACCESS_KEY_ID": "x",
    "OTEL_EXPORTER_OTLP_HEADERS": "k=v",
    "SSL_CERT_FILE": "/etc/ssl/corp.pem",
    "https_proxy": "http://proxy.example:3128",
    "PYTHONPATH": "/srv/newcomer",
}
KEPT_OUT = {
    "PGHOSTADDR": "192.0.2.1",
    "PGSERVICE": "corp",
    "LC_ALL": "C",
    "PYTHONIOENCODING": "iso-8859-1",
    "PYTHONWARNINGS": "error",
    "PYTHONOPTIMIZE": "2",
    "LD_LIBRARY_PATH": "/opt/conda/lib",
    "ORDERFLOW_STACK__PORT_OFFSET": "1000",
    "ORDERFLOW_TEST_STACK": "x",
}


def test_a_process_of_ours_gets_its_settings_and_nothing_that_would_change_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in (PASSED_ON | KEPT_OUT | {"PYTHONUTF8": "0", "TZ": "Asia/Tokyo"}).items():
        monkeypatch.setenv(name, value)
    environment = own_environment()
    assert environment.items() >= PASSED_ON.items()
    assert not KEPT_OUT.keys() & environment.keys()
    assert (environment["PYTHONUTF8"], environment["TZ"]) == ("1", "UTC")


@pytest.mark.parametrize(
    ("setting", "name"),
    [("ORDERFLOW_STACK__STATE_DIR", "a,b"), ("ORDERFLOW_STACK__CACHE_DIR", "a:b")],
)
def test_a_name_that_a_server_reads_as_two_is_refused_before_anything_is_made(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, setting: str, name: str
) -> None:
    monkeypatch.setenv(setting, str(tmp_path / name))
    with pytest.raises(ConfigurationError, match=f"{setting}: .*choose another place"):
        from_environment()
    assert not list(tmp_path.iterdir())


def test_a_checkout_with_a_comma_has_a_directory_without_one() -> None:
    assert "," not in checkout_name(Path("/home/me/a,b"))
    assert checkout_name(Path("/home/me/a,b")) != checkout_name(Path("/home/me/a-b"))
