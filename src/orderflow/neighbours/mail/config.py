"""The mail sink's settings."""

from __future__ import annotations

from pathlib import Path

from orderflow.contracts.roster import SECTIONS
from orderflow.messaging.settings import Port, ProcessSettings, Section
from orderflow.messaging.settings import load as load_settings


class MailSettings(Section):
    """`host`, `port`: the HTTP API; `smtp_host`, `smtp_port`: where mails come in."""

    host: str = "127.0.0.1"
    port: Port = 8087
    smtp_host: str = "127.0.0.1"
    smtp_port: Port = 8025
    directory: Path = Path("mail")


class Settings(ProcessSettings):
    mail: MailSettings = MailSettings()


def load() -> Settings:
    return load_settings(Settings, neighbours=SECTIONS)
