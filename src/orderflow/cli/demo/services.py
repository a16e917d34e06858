"""The services as the demo asks them, over HTTP: every trouble is one line that says what to do."""

from __future__ import annotations

from typing import Any

import httpx2
import msgspec

from orderflow.cli.demo.stories import SOLD_OUT
from orderflow.messaging.errors import OrderflowError
from orderflow.stack.addresses import exports
from orderflow.stack.settings import StackSettings

TIMEOUT_S = 30.0
QUANTITY_MAX = 10_000
NEEDED = ("order", "payment", "inventory", "notification", "fulfilment", "analytics", "psp", "mail")
NEIGHBOURS = ("psp", "mail")


class Captured(msgspec.Struct, frozen=True, kw_only=True):
    """What the provider's own ledger has under a payment: amounts in minor units."""

    captures: tuple[int, ...]
    refunds: tuple[int, ...]


class Services:
    """Our services and their neighbours. Raises OrderflowError, naming whose log to read."""

    def __init__(self, settings: StackSettings) -> None:
        told = exports(settings)
        self._urls = {
            name: told["PSP_URL" if name == "psp" else f"{name.upper()}_API_URL"] for name in NEEDED
        }
        self._client = httpx2.Client(timeout=TIMEOUT_S, trust_env=False)

    @property
    def order_url(self) -> str:
        return self._urls["order"]

    def close(self) -> None:
        self._client.close()

    def place(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """The order as it was made."""
        return self._asked("order", "POST", path, 201, json=body)

    def command(self, order_id: str, step: str, customer: str) -> tuple[int, dict[str, Any]]:
        """Status and order, as `pay`, `ship`, `deliver` or `cancel` answered: 200, or 202 if it takes longer."""
        path = f"/api/orders/{order_id}/{step}?customerId={customer}"
        answer = self._send("order", "POST", path)
        if answer.status_code not in (200, 202):
            raise OrderflowError(f"POST {path} answered {answer.status_code}: {answer.text[:300]}")
        return answer.status_code, answer.json()

    def shipment(self, order_id: str) -> str:
        """What became of the order's shipment; empty if there never was one."""
        answer = self._send("fulfilment", "GET", f"/shipments/{order_id}")
        return str(answer.json()["status"]) if answer.status_code == 200 else ""

    def mails(self, order_id: str) -> list[str]:
        """What was sent about the order, in the order in which the sink took it: subjects, without the order's id."""
        found = self._asked("mail", "GET", f"/messages?orderId={order_id}", 200)
        return [str(mail["subject"]).replace(f" {order_id}", "") for mail in found["items"]]

    def funnel(self) -> dict[str, Any]:
        return self._asked("analytics", "GET", "/analytics/funnel", 200)

    def order(self, order_id: str) -> dict[str, Any]:
        return self._asked("order", "GET", f"/orders/{order_id}", 200)

    def payment_state(self, order_id: str) -> str:
        """What payment knows of the order's first attempt; empty while it has not heard of it."""
        answer = self._send("payment", "GET", f"/payments/{order_id}")
        found = answer.json()["payments"] if answer.status_code == 200 else []
        return str(found[0]["state"]) if found else ""

    def ledger(self, payment_id: str) -> Captured:
        """What the provider itself has written down."""
        told = self._asked("psp", "GET", f"/charges?reference={payment_id}", 200)
        return Captured(
            captures=tuple(
                one["amountMinor"] for one in told["charges"] if one["status"] == "CAPTURED"
            ),
            refunds=tuple(one["amountMinor"] for one in told["refunds"]),
        )

    def more_than_there_is(self) -> int:
        """How many of the sold-out product to order so that it is out of stock, whoever has put some there."""
        available = int(self._asked("inventory", "GET", f"/stock/{SOLD_OUT}", 200)["available"])
        if available >= QUANTITY_MAX:
            raise OrderflowError(
                f"{available:,} pieces of {SOLD_OUT} are there, too many to be out of stock: "
                f"PUT {self._urls['inventory']}/stock/{SOLD_OUT} with "
                '{"onHand": 0} empties that shelf'
            )
        return available + 1

    def _asked(
        self, service: str, method: str, path: str, wanted: int, **more: Any
    ) -> dict[str, Any]:
        answer = self._send(service, method, path, **more)
        if answer.status_code != wanted:
            raise OrderflowError(
                f"{method} {path} of {service} answered {answer.status_code}: {answer.text[:300]}"
            )
        found: dict[str, Any] = answer.json()
        return found

    def _send(self, service: str, method: str, path: str, **more: Any) -> httpx2.Response:
        try:
            return self._client.request(method, f"{self._urls[service]}{path}", **more)
        except httpx2.HTTPError as error:
            log = "order-api" if service == "order" else service
            raise OrderflowError(
                f"{method} {self._urls[service]}{path} failed ({error or type(error).__name__}): "
                f"see `orderflow status` and `orderflow logs {log}`"
            ) from error
