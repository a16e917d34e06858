"""The payment service's settings."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from orderflow.contracts.roster import SECTIONS
from orderflow.messaging.settings import (
    ApiSection,
    DatabaseSettings,
    Port,
    ProcessSettings,
    RoleSection,
    Section,
)
from orderflow.messaging.settings import load as load_settings


class ApiSettings(ApiSection):
    port: Port = 8081


class ListenerSettings(RoleSection):
    port: Port = 8210
    protocol: Literal["classic", "consumer"] = "classic"


class ProviderSettings(Section):
    """
    The payment provider. A call that is not answered within `read_timeout_s` is neither a yes nor a no.

    `calls_max` calls run at a time. `key_window_s`: how long the provider surely remembers an idempotency key.
    """

    url: str = "http://127.0.0.1:8089"
    connect_timeout_s: Annotated[float, Field(gt=0, le=10)] = 1.0
    read_timeout_s: Annotated[float, Field(gt=0, le=60)] = 2.0
    calls_max: Annotated[int, Field(ge=1, le=1024)] = 128
    key_window_s: Annotated[float, Field(ge=0)] = 86_400.0


class PaymentSettings(Section):
    database: DatabaseSettings
    api: ApiSettings = ApiSettings()
    listener: ListenerSettings = ListenerSettings()
    psp: ProviderSettings = ProviderSettings()


class Settings(ProcessSettings):
    payment: PaymentSettings


def load() -> Settings:
    return load_settings(Settings, neighbours=SECTIONS)
