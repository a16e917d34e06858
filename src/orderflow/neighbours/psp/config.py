"""The provider's settings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator
from standardwebhooks import Webhook as Signer

from orderflow.contracts.roster import SECTIONS
from orderflow.messaging.settings import Port, ProcessSettings, Section
from orderflow.messaging.settings import load as load_settings
from orderflow.neighbours.psp.provider import Announces


class PspSettings(Section):
    """
    `directory`: for ledger and logs. `key_window_s`: how long an Idempotency-Key is remembered; 0:
    not at all. `pending_s`: how long a pending charge is undecided. `webhook_secret`: `whsec_` and
    base64. `announces`: see `Announces`.
    """

    host: str = "127.0.0.1"
    port: Port = 8089
    directory: Path = Path("psp")
    key_window_s: Annotated[float, Field(ge=0)] = 86_400.0
    api_key: SecretStr | None = None
    requests_per_s: Annotated[float, Field(gt=0)] | None = None
    pending_s: Annotated[float, Field(ge=0, le=86_400)] = 2.0
    webhook_url: str | None = None
    webhook_secret: SecretStr | None = None
    announces: Announces = "unanswered"

    @field_validator("api_key")
    @classmethod
    def _is_a_header(cls, value: SecretStr | None) -> SecretStr | None:
        text = value.get_secret_value() if value else "key"
        if not text.isascii() or not text.isprintable() or " " in text or not text:
            raise ValueError("an API key has visible ASCII characters only")
        return value

    @field_validator("webhook_url")
    @classmethod
    def _is_an_address(cls, value: str | None) -> str | None:
        parts = urlsplit(value or "http://host")
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query:
            raise ValueError("a webhook URL is http(s)://host:port/path")
        return value

    @field_validator("webhook_secret")
    @classmethod
    def _is_a_secret(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            try:
                Signer(value.get_secret_value())
            except Exception as error:
                raise ValueError("a webhook secret is whsec_ and base64") from error
        return value

    @model_validator(mode="after")
    def _are_both_or_none(self) -> PspSettings:
        if (self.webhook_url is None) != (self.webhook_secret is None):
            raise ValueError("WEBHOOK_URL and WEBHOOK_SECRET are set together, or neither")
        return self


class Settings(ProcessSettings):
    psp: PspSettings = PspSettings()


def load() -> Settings:
    return load_settings(Settings, neighbours=SECTIONS)
