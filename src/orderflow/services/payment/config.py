"""The payment service's settings."""

from __future__ import annotations

from base64 import b64decode
from typing import Annotated, ClassVar

from pydantic import Field, SecretStr, field_validator

from orderflow.contracts import roster
from orderflow.messaging.process.settings import ListenerSection, ServiceSection
from orderflow.messaging.settings import ApiSection, ProcessSettings, Section

SECRET_BYTES_MIN = 16


class ProviderSettings(Section):
    """
    The payment provider. A call without an answer within `read_timeout_s` has no known outcome, nor
    has one that is not over, to its last byte, after `call_timeout_s`.

    `api_key` is sent as a bearer token; without one, nothing is. `calls_max` calls run at a time.
    `key_window_s`: how long the provider remembers an idempotency key at least. `webhook_secrets`:
    those that it may sign webhooks with, each `whsec_` and base64, with spaces between.
    """

    url: str = "http://127.0.0.1:8089"
    connect_timeout_s: Annotated[float, Field(gt=0, le=10)] = 1.0
    read_timeout_s: Annotated[float, Field(gt=0, le=60)] = 2.0
    call_timeout_s: Annotated[float, Field(gt=0, le=60)] = 5.0
    api_key: SecretStr = SecretStr("")
    calls_max: Annotated[int, Field(ge=1, le=1024)] = 128
    key_window_s: Annotated[float, Field(ge=0)] = 86_400.0
    webhook_secrets: SecretStr = SecretStr("")

    @field_validator("api_key")
    @classmethod
    def _is_a_header(cls, key: SecretStr) -> SecretStr:
        text = key.get_secret_value()
        if not text.isascii() or not text.isprintable() or " " in text:
            raise ValueError("an API key has visible ASCII characters only")
        return key

    @field_validator("webhook_secrets")
    @classmethod
    def _are_secrets(cls, secrets: SecretStr) -> SecretStr:
        for secret in secrets.get_secret_value().split():
            prefix, _, encoded = secret.partition("_")
            try:
                key = b64decode(encoded, validate=True)
            except ValueError:
                key = b""
            if prefix != "whsec" or len(key) < SECRET_BYTES_MIN:
                raise ValueError("a webhook secret is whsec_ and at least 16 bytes in base64")
        return secrets


class PaymentSettings(ServiceSection):
    ports: ClassVar = roster.row("payment").ports

    api: ApiSection
    listener: ListenerSection
    psp: ProviderSettings = ProviderSettings()


class Settings(ProcessSettings):
    payment: PaymentSettings
