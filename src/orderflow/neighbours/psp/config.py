"""The provider's settings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from orderflow.contracts.roster import SECTIONS
from orderflow.messaging.settings import Port, ProcessSettings, Section
from orderflow.messaging.settings import load as load_settings

Rate = Annotated[float, Field(ge=0, le=1)]


class FaultSettings(Section):
    """
    What goes wrong, and how often: rates of all POSTs. `PUT /faults` changes them while it runs.

    `slow_s`: how long a slow call takes; `latency_s`: how long every call takes.
    """

    reply_lost: Rate = 0.0
    dropped: Rate = 0.0
    error_after_commit: Rate = 0.0
    slow: Rate = 0.0
    slow_s: Annotated[float, Field(ge=0, le=600)] = 5.0
    latency_s: Annotated[float, Field(ge=0, le=600)] = 0.0


class PspSettings(Section):
    """`directory`: for ledger and call log. `key_window_s`: how long an Idempotency-Key is known; 0: not at all."""

    host: str = "127.0.0.1"
    port: Port = 8089
    directory: Path = Path("psp")
    key_window_s: Annotated[float, Field(ge=0)] = 86_400.0
    faults: FaultSettings = FaultSettings()


class Settings(ProcessSettings):
    psp: PspSettings = PspSettings()


def load() -> Settings:
    return load_settings(Settings, neighbours=SECTIONS)
