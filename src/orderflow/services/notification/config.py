"""The notification service's settings."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from orderflow.contracts import roster
from orderflow.messaging.process.settings import ServiceSection
from orderflow.messaging.settings import (
    ApiSection,
    Port,
    ProcessSettings,
    RelaySection,
    RoleSection,
    Section,
)


class SenderSettings(RoleSection):
    """
    A worker that sends: at most `letters_max` to a customer at a time, on `connections_max`
    connections.

    A worker leases a customer for `lease_s`; stopped for longer, it loses the customer to another
    worker. A customer who must wait is tried again after 1 s, then after twice as long each time,
    up to `back_off_s_max`. A message that is older than `give_up_s`, and was tried ten times, is
    given up.
    """

    connections_max: Annotated[int, Field(ge=1, le=128)] = 16
    letters_max: Annotated[int, Field(ge=1, le=100)] = 20
    lease_s: Annotated[float, Field(ge=1, le=600)] = 30.0
    back_off_s_max: Annotated[float, Field(ge=0.1, le=3600)] = 600.0
    give_up_s: Annotated[float, Field(ge=1, le=30 * 86_400)] = 3 * 86_400.0


class HoldSettings(Section):
    """
    How long a notification is held, in seconds, for what happened before it: `least_s`, before it
    is looked whether that can still come; `most_s`, while the service is behind on its topics.
    """

    least_s: Annotated[float, Field(ge=0.1, le=60)] = 5.0
    most_s: Annotated[float, Field(ge=60, le=86_400)] = 600.0


class SmtpSettings(Section):
    """
    The mail server. `sender`: the address that mail comes from; `recipient`: the address that it
    goes to, with the customer's id, made a safe local part, in the place of `{customer}`.

    `timeout_s` is for each answer; a mail has twice as long in all, over one connection or two.
    Without an answer the mail may have been accepted or not, and is sent again.
    """

    host: str = "127.0.0.1"
    port: Port = 8025
    sender: Annotated[str, Field(pattern=r"^[\w.+-]+@[\w.-]+$")] = "orders@orderflow.localhost"
    recipient: Annotated[str, Field(pattern=r"^[\w.+-]*\{customer\}[\w.+-]*@[\w.-]+$")] = (
        "{customer}@customers.localhost"
    )
    connect_timeout_s: Annotated[float, Field(gt=0, le=10)] = 1.0
    timeout_s: Annotated[float, Field(gt=0, le=60)] = 5.0

    @property
    def letter_within_s(self) -> float:
        """How long sending one mail may take as a whole."""
        return 2 * self.timeout_s


class NotificationSettings(ServiceSection):
    ports: ClassVar = roster.row("notification").ports

    api: ApiSection
    listener: RoleSection
    sender: SenderSettings
    relay: RelaySection
    smtp: SmtpSettings = SmtpSettings()
    hold: HoldSettings = HoldSettings()


class Settings(ProcessSettings):
    notification: NotificationSettings
