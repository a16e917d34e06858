"""The services over HTTP; every trouble is one line that ends with what to do."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import httpx2
import msgspec

from orderflow.contracts.events import CurrencyTotals
from orderflow.messaging.errors import OrderflowError
from orderflow.stack.addresses import exports
from orderflow.stack.secret_values import provider_environment
from orderflow.stack.settings import StackSettings

TIMEOUT_S = 30.0
ACTOR = {"Orderflow-Actor": "orderflow-demo"}
REASON = "orderflow demo"
NEEDED = (
    *("order", "payment", "inventory", "notification", "fulfilment", "analytics", "revenue"),
    *("psp", "mail"),
)
NEIGHBOURS = ("psp", "mail")


class Captured(msgspec.Struct, frozen=True, kw_only=True):
    """The provider's own ledger of a payment: amounts in minor units."""

    captures: tuple[int, ...]
    refunds: tuple[int, ...]


class Services:
    """Our services and their neighbours. Raises OrderflowError, naming the log to read."""

    def __init__(self, settings: StackSettings) -> None:
        urls = exports(settings)
        self._urls = {
            name: urls["PSP_URL" if name == "psp" else f"{name.upper()}_API_URL"] for name in NEEDED
        }
        self._client = httpx2.Client(timeout=TIMEOUT_S, trust_env=False)
        key = provider_environment(settings).get("ORDERFLOW_PSP__API_KEY", "")
        self._provider_headers = {"Authorization": f"Bearer {key}"} if key else {}

    @property
    def order_url(self) -> str:
        return self._urls["order"]

    def close(self) -> None:
        self._client.close()

    def place(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """The order as it was made."""
        return self._request("order", "POST", path, 201, json=body)

    def command(self, order_id: str, step: str, customer: str) -> tuple[int, dict[str, Any]]:
        """Status (200, or 202 if it takes longer) and order, as the command answered."""
        path = f"/api/orders/{order_id}/{step}?customerId={customer}"
        answer = self._send("order", "POST", path)
        if answer.status_code not in (200, 202):
            raise OrderflowError(f"POST {path} answered {answer.status_code}: {answer.text[:300]}")
        return answer.status_code, answer.json()

    def shipment(self, order_id: str) -> str:
        """The status of the order's shipment; empty if there is none."""
        answer = self._send("fulfilment", "GET", f"/shipments/{order_id}")
        return str(answer.json()["status"]) if answer.status_code == 200 else ""

    def mails(self, order_id: str) -> list[str]:
        """Subjects of the order's mails, without its id, in the order of acceptance."""
        page = self._request("mail", "GET", f"/messages?orderId={order_id}", 200)
        return [str(mail["subject"]).replace(f" {order_id}", "") for mail in page["items"]]

    def funnel(self) -> dict[str, Any]:
        return self._request("analytics", "GET", "/analytics/funnel", 200)

    def revenue(self, customer: str) -> dict[str, CurrencyTotals] | None:
        """The customer's totals by currency, empty if there are none; None: not to be had now."""
        path = f"/revenue/{customer}"
        answer = self._send("revenue", "GET", path)
        if answer.status_code == 404:
            return {}
        if answer.status_code == 503:
            return None
        if answer.status_code != 200:
            raise OrderflowError(f"GET {path} answered {answer.status_code}: {answer.text[:300]}")
        return msgspec.convert(answer.json()["totals"], dict[str, CurrencyTotals])

    def order(self, order_id: str) -> dict[str, Any]:
        return self._request("order", "GET", f"/orders/{order_id}", 200)

    def payment_state(self, order_id: str) -> str:
        """The state of the order's first payment; empty before payment has read the order."""
        answer = self._send("payment", "GET", f"/payments/{order_id}")
        payments = answer.json()["payments"] if answer.status_code == 200 else []
        return str(payments[0]["state"]) if payments else ""

    def ledger(self, payment_id: str) -> Captured:
        """The provider's own ledger of a payment."""
        view = self._request(
            "psp",
            "GET",
            f"/charges?reference={payment_id}",
            200,
            headers=self._provider_headers,
        )

        return Captured(
            captures=tuple(
                charge["amountMinor"]
                for charge in view["charges"]
                if charge["status"] == "CAPTURED"
            ),
            refunds=tuple(refund["amountMinor"] for refund in view["refunds"]),
        )

    def is_offered(self, sku: str, currency: str) -> bool:
        """Whether the catalogue has it, with a price in that currency."""
        answer = self._send("order", "GET", f"/products/{sku}")
        if answer.status_code != 200:
            return False
        product = answer.json()
        return bool(product["active"]) and currency in product["prices"]

    def offer(self, sku: str, name: str, prices: dict[str, int]) -> None:
        """Put it into the catalogue, so and not otherwise; prices in minor units."""
        body = {"name": name, "prices": prices, "active": True, "reason": REASON}
        answer = self._send("order", "PUT", f"/products/{sku}", json=body, headers=ACTOR)
        if answer.status_code != 200:
            raise _refused("PUT", f"/products/{sku}", "order", answer)

    def available(self, sku: str) -> int:
        """Pieces that are there and not reserved; 0 of what inventory does not know."""
        answer = self._send("inventory", "GET", f"/stock/{sku}")
        return int(answer.json()["available"]) if answer.status_code == 200 else 0

    def receive(self, sku: str, quantity: int) -> None:
        """Put so many more pieces on the shelf."""
        headers = {"Idempotency-Key": str(uuid4()), **ACTOR}
        body = {"quantity": quantity, "reason": REASON}
        path = f"/stock/{sku}/receipts"
        answer = self._send("inventory", "POST", path, json=body, headers=headers)
        if answer.status_code not in (200, 201):
            raise _refused("POST", path, "inventory", answer)

    def _request(
        self, service: str, method: str, path: str, wanted: int, **more: Any
    ) -> dict[str, Any]:
        answer = self._send(service, method, path, **more)
        if answer.status_code != wanted:
            raise _refused(method, path, service, answer)
        body: dict[str, Any] = answer.json()
        return body

    def _send(self, service: str, method: str, path: str, **more: Any) -> httpx2.Response:
        try:
            return self._client.request(method, f"{self._urls[service]}{path}", **more)
        except httpx2.HTTPError as error:
            log = "order-api" if service == "order" else service
            raise OrderflowError(
                f"{method} {self._urls[service]}{path} failed ({error or type(error).__name__}): "
                f"see `orderflow status` and `orderflow logs {log}`"
            ) from error


def _refused(method: str, path: str, service: str, answer: httpx2.Response) -> OrderflowError:
    return OrderflowError(
        f"{method} {path} of {service} answered {answer.status_code}: {answer.text[:300]}"
    )
