"""The order service's settings."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field

from orderflow.contracts import roster
from orderflow.contracts.currencies import known_currency
from orderflow.messaging.http.bodies import BODY_BYTES_MAX
from orderflow.messaging.process.settings import ServiceSection
from orderflow.messaging.settings import (
    ApiSection,
    ProcessSettings,
    RelaySection,
    RoleSection,
    Section,
)
from orderflow.services.order.deadlines import Limits
from orderflow.services.order.model import WaitingFor

Seconds = Annotated[float, Field(gt=0)]


class ApiSettings(ApiSection):
    """
    `body_bytes_max`: a longer request is 413. `queue_max`: orders that may wait for the committer;
    beyond it, 503. `queue_s`: how long one may wait for it; after that, 503, and it is not placed.
    `retry_every_s`: how often what an order waits for may be asked for again; sooner, it is 429.
    """

    body_bytes_max: Annotated[int, Field(ge=1024)] = BODY_BYTES_MAX
    batch_max: Annotated[int, Field(ge=1, le=500)] = 500
    queue_max: Annotated[int, Field(ge=1)] = 10_000
    queue_s: Seconds = 5.0
    retry_every_s: Annotated[float, Field(ge=0)] = 10.0


class SweeperSettings(RoleSection):
    """
    `every_s`: from one round to the next. `patience_s`: how long a round waits for facts.

    `batch_max`: orders in one transaction.
    """

    every_s: Seconds = 5.0
    patience_s: Annotated[float, Field(gt=0, le=60)] = 5.0
    batch_max: Annotated[int, Field(ge=1, le=500)] = 200


class DeadlineSettings(Section):
    """
    How long an order may wait, in seconds: for a command (pay, ship, deliver) or a fact (payment,
    stock; once it is cancelled: refund, release).
    """

    pay_s: Seconds = 86_400
    payment_s: Seconds = 1_800
    stock_s: Seconds = 900
    ship_s: Seconds = 604_800
    deliver_s: Seconds = 2_592_000
    refund_s: Seconds = 3_600
    release_s: Seconds = 900

    @property
    def limits(self) -> Limits:
        return {
            awaited: timedelta(seconds=getattr(self, f"{awaited.lower()}_s"))
            for awaited in WaitingFor
        }


class OrderSettings(ServiceSection):
    ports: ClassVar = roster.row("order").ports

    api: ApiSettings
    listener: RoleSection
    relay: RelaySection
    default_currency: Annotated[str, AfterValidator(known_currency)] = "EUR"
    default_payment_method: Annotated[str, Field(min_length=1)] | None = None
    sweeper: SweeperSettings
    deadlines: DeadlineSettings = DeadlineSettings()
    idempotency_hours: Annotated[int, Field(ge=1)] = 24


class Settings(ProcessSettings):
    order: OrderSettings
