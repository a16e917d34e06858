"""The provider's settings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from orderflow.contracts.roster import SECTIONS
from orderflow.messaging.settings import Port, ProcessSettings, Section
from orderflow.messaging.settings import load as load_settings


class PspSettings(Section):
    """
    `directory`: for ledger and call log. `key_window_s`: how long an Idempotency-Key is remembered;
    0: not at all.
    """

    host: str = "127.0.0.1"
    port: Port = 8089
    directory: Path = Path("psp")
    key_window_s: Annotated[float, Field(ge=0)] = 86_400.0


class Settings(ProcessSettings):
    psp: PspSettings = PspSettings()


def load() -> Settings:
    return load_settings(Settings, neighbours=SECTIONS)
