"""`python -m orderflow.services.asyncapi`: write what all services say and hear to `docs/asyncapi.json`."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from orderflow.contracts.roster import TOPICS
from orderflow.contracts.schemas import CATALOGUE
from orderflow.messaging.documents import asyncapi
from orderflow.services.analytics.listeners import LISTENER as ANALYTICS
from orderflow.services.fulfilment.listeners import LISTENER as FULFILMENT
from orderflow.services.inventory.listeners import LISTENER as INVENTORY
from orderflow.services.notification.listeners import LISTENER as NOTIFICATION
from orderflow.services.order.listeners import LISTENER as ORDER
from orderflow.services.payment.handlers import Payments
from orderflow.services.payment.listeners import listener as payment

TABLES = (
    ORDER,
    payment(cast("Payments", None), calls_max=1),
    INVENTORY,
    NOTIFICATION,
    FULFILMENT,
    ANALYTICS,
)
"""Every service's listener. Nothing here is ever run: what a handler needs is left out."""

FILE = Path(__file__).parents[3] / "docs" / "asyncapi.json"


def text() -> str:
    made = asyncapi.document(
        "Orderflow",
        "An order's life as events: what each service says on which topic, and who hears it.",
        topics=TOPICS,
        listeners=TABLES,
        catalogue=CATALOGUE,
    )
    return asyncapi.text(made)


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
