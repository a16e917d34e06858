"""The mail sink's settings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from orderflow.contracts.roster import SECTIONS
from orderflow.messaging.settings import Port, ProcessSettings, Section
from orderflow.messaging.settings import load as load_settings

Rate = Annotated[float, Field(ge=0, le=1)]


class FaultSettings(Section):
    """What goes wrong, and how often; `PUT /faults` changes it while it runs, and knows single addresses too."""

    temporary: Rate = 0.0
    reply_lost: Rate = 0.0
    latency_s: Annotated[float, Field(ge=0, le=600)] = 0.0


class MailSettings(Section):
    """`host`, `port`: where what it got can be read; `smtp_host`, `smtp_port`: where it takes mail."""

    host: str = "127.0.0.1"
    port: Port = 8087
    smtp_host: str = "127.0.0.1"
    smtp_port: Port = 8025
    directory: Path = Path("mail")
    faults: FaultSettings = FaultSettings()


class Settings(ProcessSettings):
    mail: MailSettings = MailSettings()


def load() -> Settings:
    return load_settings(Settings, neighbours=SECTIONS)
