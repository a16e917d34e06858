"""The payment service's settings."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from orderflow.contracts import roster
from orderflow.messaging.process.settings import ListenerSection, ServiceSection
from orderflow.messaging.settings import ApiSection, ProcessSettings, Section


class ProviderSettings(Section):
    """
    The payment provider. A call without an answer within `read_timeout_s` has no known outcome.

    `calls_max` calls run at a time. `key_window_s`: how long the provider remembers an idempotency
    key at least.
    """

    url: str = "http://127.0.0.1:8089"
    connect_timeout_s: Annotated[float, Field(gt=0, le=10)] = 1.0
    read_timeout_s: Annotated[float, Field(gt=0, le=60)] = 2.0
    calls_max: Annotated[int, Field(ge=1, le=1024)] = 128
    key_window_s: Annotated[float, Field(ge=0)] = 86_400.0


class PaymentSettings(ServiceSection):
    ports: ClassVar = roster.row("payment").ports

    api: ApiSection
    listener: ListenerSection
    psp: ProviderSettings = ProviderSettings()


class Settings(ProcessSettings):
    payment: PaymentSettings
