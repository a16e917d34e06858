"""
Where payments go on to: the warehouse's row of an order, and one sum three times, of the provider's
ledger, of the warehouse, and of the files.
"""

from __future__ import annotations

import time
from collections import Counter
from contextlib import closing
from threading import Event

import httpx2
import msgspec

from orderflow.books.sides.provider_ledger import PAGE_MAX, ProviderLedger
from orderflow.connect.warehouse import WarehousePayment, net_by_currency, payments_of
from orderflow.messaging.errors import OrderflowError
from orderflow.messaging.settings import DatabaseSettings
from orderflow.stack.addresses import database_url, lake_url, psp_url
from orderflow.stack.parts import connect
from orderflow.stack.settings import StackSettings

ARRIVED_WITHIN_S = 60.0
LOOK_EVERY_S = 0.5
LOOK_THERE = "see `orderflow connect status`, `orderflow lag`, then `orderflow books`"

Net = dict[str, int]
"""Captured without refunded, in minor units, by currency."""


class Sums(msgspec.Struct, frozen=True, kw_only=True):
    """Net payments three times."""

    ledger: Net
    warehouse: Net
    files: Net

    @property
    def are_equal(self) -> bool:
        return self.ledger == self.warehouse == self.files


class _Total(msgspec.Struct, rename="camel"):
    currency: str
    status: str
    amount_minor: int


class _Sums(msgspec.Struct):
    totals: list[_Total]


class Copies:
    """The copies of a stack that runs with Connect."""

    def __init__(self, settings: StackSettings) -> None:
        self._warehouse = DatabaseSettings.model_validate(
            {"dsn": database_url(settings, connect.WAREHOUSE)}
        )
        self._ledger_url = psp_url(settings)
        self._lake_url = lake_url(settings)

    def row_of(self, order_id: str) -> list[WarehousePayment]:
        """The order's payments as the warehouse has them."""
        return payments_of(self._warehouse, order_id)

    def sums(self) -> Sums:
        """
        Once all three are equal: what has just happened is on its way for some seconds.

        Raises OrderflowError if they still differ after a minute.
        """
        until = time.monotonic() + ARRIVED_WITHIN_S
        patience = Event()
        while not (sums := self._sums()).are_equal:
            if time.monotonic() > until:
                raise OrderflowError(
                    f"after {ARRIVED_WITHIN_S:.0f} s ledger {sums.ledger}, warehouse "
                    f"{sums.warehouse} and files {sums.files} still differ: {LOOK_THERE}"
                )
            patience.wait(LOOK_EVERY_S)
        return sums

    def _sums(self) -> Sums:
        return Sums(
            ledger=self._of_ledger(),
            warehouse=net_by_currency(self._warehouse),
            files=self._of_files(),
        )

    def _of_ledger(self) -> Net:
        net: Counter[str] = Counter()
        read = 0
        with closing(ProviderLedger(self._ledger_url)) as ledger:
            while page := ledger.entries(read, PAGE_MAX):
                read += len(page)
                for entry in page:
                    net[entry.currency] += _sign(entry.status) * entry.amount_minor
        return _without_zeros(net)

    def _of_files(self) -> Net:
        try:
            answer = httpx2.get(f"{self._lake_url}/lake/payments/sums", timeout=20, trust_env=False)
            answer.raise_for_status()
            totals = msgspec.json.decode(answer.content, type=_Sums).totals
        except (httpx2.HTTPError, msgspec.DecodeError) as error:
            raise OrderflowError(
                f"the lake's exporter shows no sums ({type(error).__name__}): "
                "see `orderflow status`, then `orderflow logs lake`"
            ) from error

        net: Counter[str] = Counter()
        for total in totals:
            net[total.currency] += _sign(total.status) * total.amount_minor
        return _without_zeros(net)


def _sign(status: str) -> int:
    return {"CAPTURED": 1, "REFUNDED": -1}.get(status, 0)


def _without_zeros(net: Counter[str]) -> Net:
    return {currency: amount for currency, amount in sorted(net.items()) if amount}
