"""The secrets of payment and its provider: made once, the owner's alone, shown to nobody else."""

from __future__ import annotations

import json
import stat
from collections.abc import Mapping
from pathlib import Path

import pytest

from orderflow.messaging.errors import ConfigurationError
from orderflow.neighbours.psp.config import PspSettings
from orderflow.services.payment.config import ProviderSettings
from orderflow.stack.addresses import exports, process_environment
from orderflow.stack.blueprint import everything
from orderflow.stack.parts.services import worker
from orderflow.stack.secret_values import FILE, load, provider_environment
from orderflow.stack.settings import PROVIDER_URL, StackSettings, from_environment

KEY, WEBHOOK_URL = "ORDERFLOW_PSP__API_KEY", "ORDERFLOW_PSP__WEBHOOK_URL"
SECRET, BELIEVED = "ORDERFLOW_PSP__WEBHOOK_SECRET", "ORDERFLOW_PAYMENT__PSP__WEBHOOK_SECRETS"


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StackSettings:
    monkeypatch.setenv("ORDERFLOW_STACK__STATE_DIR", str(tmp_path))
    return from_environment()


def values(settings: StackSettings) -> set[str]:
    kept = load(settings)
    return {kept.provider_api_key, kept.webhook}


def shows(environment: Mapping[str, str], secrets: set[str]) -> bool:
    return bool(secrets & set(environment.values()))


def test_secrets_are_made_once_and_only_their_owner_may_read_them(settings: StackSettings) -> None:
    first = values(settings)
    assert values(settings) == first
    assert stat.S_IMODE((settings.home / FILE).stat().st_mode) == 0o600
    assert [path.name for path in settings.home.iterdir()] == [FILE]


def test_another_state_directory_has_other_secrets(settings: StackSettings, tmp_path: Path) -> None:
    other = settings.model_copy(update={"home": tmp_path / "other"})
    assert not values(settings) & values(other)


def test_payment_and_its_provider_believe_each_other_and_nobody_else_gets_the_secrets(
    settings: StackSettings,
) -> None:
    secrets = values(settings)
    parts = [*everything(settings), worker(settings, "payment", "listener", slot=1, port=9999)]
    commands = {
        part.name: part.command()
        for part in parts
        if part.service in {"order", "payment", "psp", "mail", "notification"}
    }
    told = {name for name, command in commands.items() if shows(command.env, secrets)}
    assert told == {"payment", "payment-1", "psp"}
    assert not any(
        secret in " ".join(each.argv) for each in commands.values() for secret in secrets
    )

    provider, payment = commands["psp"].env, commands["payment"].env
    assert provider[WEBHOOK_URL] == "http://127.0.0.1:8081/webhooks/provider"
    assert provider[SECRET] == payment[BELIEVED]
    assert provider[KEY] == payment["ORDERFLOW_PAYMENT__PSP__API_KEY"]
    PspSettings.model_validate(
        {
            "api_key": provider[KEY],
            "webhook_url": provider[WEBHOOK_URL],
            "webhook_secret": provider[SECRET],
        }
    )
    ProviderSettings.model_validate({"webhook_secrets": payment[BELIEVED]})


def test_what_people_and_tools_are_shown_contains_no_secret(settings: StackSettings) -> None:
    secrets = values(settings)
    assert not shows(exports(settings), secrets)
    assert not shows(process_environment(settings), secrets)
    assert not any(secret in repr(load(settings)) for secret in secrets)


def test_nothing_is_made_for_a_provider_that_is_elsewhere(
    settings: StackSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PROVIDER_URL, "https://psp.example")
    assert provider_environment(from_environment()) == {}
    assert not (settings.home / FILE).exists()


@pytest.mark.parametrize("content", ["", "{}", json.dumps({"webhook": 1}), "[]"])
def test_a_file_that_is_no_secrets_is_named_and_not_replaced(
    settings: StackSettings, content: str
) -> None:
    settings.home.mkdir(parents=True)
    (settings.home / FILE).write_text(content)
    with pytest.raises(ConfigurationError, match=FILE):
        load(settings)
    assert (settings.home / FILE).read_text() == content
