"""The notification service's settings."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from orderflow.contracts.roster import SECTIONS
from orderflow.messaging.settings import (
    ApiSection,
    DatabaseSettings,
    Port,
    ProcessSettings,
    RelaySection,
    RoleSection,
    Section,
)
from orderflow.messaging.settings import load as load_settings


class ApiSettings(ApiSection):
    port: Port = 8083


class ListenerSettings(RoleSection):
    port: Port = 8230


class SenderSettings(RoleSection):
    """
    A worker that sends. `connections_max` conversations at a time, each about one customer: at most `letters_max`.

    A customer is a worker's own for `lease_s`; a worker that was stopped for longer loses it to another. One that must
    wait is tried again after 1 s, then after twice as long each time, up to `back_off_s_max`.
    """

    port: Port = 8260
    connections_max: Annotated[int, Field(ge=1, le=128)] = 16
    letters_max: Annotated[int, Field(ge=1, le=100)] = 20
    lease_s: Annotated[float, Field(ge=1, le=600)] = 30.0
    back_off_s_max: Annotated[float, Field(ge=0.1, le=3600)] = 60.0


class SmtpSettings(Section):
    """
    The mail server. `sender` is who writes; `recipient` where `{customer}`, made a safe local part, gets mail.

    `timeout_s` is for each answer; without one, the mail may have been accepted or not, and is sent again.
    """

    host: str = "127.0.0.1"
    port: Port = 8025
    sender: Annotated[str, Field(pattern=r"^[\w.+-]+@[\w.-]+$")] = "orders@orderflow.localhost"
    recipient: Annotated[str, Field(pattern=r"^[\w.+-]*\{customer\}[\w.+-]*@[\w.-]+$")] = (
        "{customer}@customers.localhost"
    )
    connect_timeout_s: Annotated[float, Field(gt=0, le=10)] = 1.0
    timeout_s: Annotated[float, Field(gt=0, le=60)] = 5.0


class NotificationSettings(Section):
    database: DatabaseSettings
    api: ApiSettings = ApiSettings()
    listener: ListenerSettings = ListenerSettings()
    sender: SenderSettings = SenderSettings()
    relay: RelaySection = RelaySection(port=8093)
    smtp: SmtpSettings = SmtpSettings()


class Settings(ProcessSettings):
    notification: NotificationSettings


def load() -> Settings:
    return load_settings(Settings, neighbours=SECTIONS)
