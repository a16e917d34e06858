"""The payment service's settings."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field, SecretStr

from orderflow.contracts import roster
from orderflow.messaging.process.settings import ListenerSection, ServiceSection
from orderflow.messaging.settings import ApiSection, ProcessSettings, Section


class ProviderSettings(Section):
    """
    The payment provider. A call without an answer within `read_timeout_s` has no known outcome, nor
    has one that is not over, to its last byte, after `call_timeout_s`.

    `api_key` is sent as a bearer token; without one, nothing is. `calls_max` calls run at a time.
    `key_window_s`: how long the provider remembers an idempotency key at least.
    """

    url: str = "http://127.0.0.1:8089"
    connect_timeout_s: Annotated[float, Field(gt=0, le=10)] = 1.0
    read_timeout_s: Annotated[float, Field(gt=0, le=60)] = 2.0
    call_timeout_s: Annotated[float, Field(gt=0, le=60)] = 5.0
    api_key: SecretStr = SecretStr("")
    calls_max: Annotated[int, Field(ge=1, le=1024)] = 128
    key_window_s: Annotated[float, Field(ge=0)] = 86_400.0


class PaymentSettings(ServiceSection):
    ports: ClassVar = roster.row("payment").ports

    api: ApiSection
    listener: ListenerSection
    psp: ProviderSettings = ProviderSettings()


class Settings(ProcessSettings):
    payment: PaymentSettings
