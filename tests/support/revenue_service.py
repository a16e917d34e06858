"""The revenue service as processes beside the payment service, and what its tables must say."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
from tests.support.service import Process, Service, service_deployed
from tests.support.stack import Stack

from orderflow.contracts.events import RevenueByCustomer, RevenueByHour
from orderflow.contracts.topics import PAYMENTS, REVENUE_BY_CUSTOMER, REVENUE_BY_HOUR
from orderflow.messaging.kafka.reader import end_offsets
from orderflow.messaging.schemas.avro import Decoder
from orderflow.messaging.schemas.registry import Registry
from orderflow.messaging.settings import RegistrySettings
from orderflow.messaging.testing.eventually import eventually
from orderflow.stack.ports import free_ports


@dataclass
class RevenueService:
    """The service and its instances, by slot."""

    service: Service
    instances: dict[int, Process] = field(default_factory=dict)
    ports: dict[int, int] = field(default_factory=dict)

    def start(self, slot: int = 0, *, wait: bool = True, **environment: str) -> Process:
        """Start the instance of a slot, in place of the one before."""
        # A slot keeps its address: the group keeps a member's first one.
        if slot not in self.ports:
            [self.ports[slot]] = free_ports(1, start=os.getpid() * 7 + 9_000 + slot * 20)
        process = self.service.start_at(
            self.ports[slot], "api,listener", slot=slot, wait=wait, **environment
        )
        self.instances[slot] = process
        return process

    def state_of(self, slot: int) -> Path:
        return self.service.state_dir / f"slot-{slot}"

    def get(
        self, path: str, query: Mapping[str, Any] | None = None, *, slot: int = 0
    ) -> httpx2.Response:
        return self.instances[slot].client.get(path, params=query)

    def by_customer(self) -> dict[str, RevenueByCustomer]:
        """The last record of each key of `revenue-by-customer`."""
        return self._last(REVENUE_BY_CUSTOMER.name, RevenueByCustomer)

    def by_hour(self) -> dict[str, RevenueByHour]:
        return self._last(REVENUE_BY_HOUR.name, RevenueByHour)

    def sums(self) -> dict[str, dict[str, int]]:
        """By currency, in the words of the payment service's ledger."""
        sums: dict[str, dict[str, int]] = {}
        for revenue in self.by_customer().values():
            for currency, totals in revenue.totals.items():
                add(sums, currency, totals)
        return sums

    def sums_of_hours(self) -> dict[str, dict[str, int]]:
        sums: dict[str, dict[str, int]] = {}
        for revenue in self.by_hour().values():
            add(sums, revenue.currency, revenue.totals)
        return sums

    def everything(self) -> list[str]:
        """`minPosition` for all that is on `payments` now, one for each partition."""
        ends = end_offsets(self.service.kafka, PAYMENTS.name)
        return [f"{PAYMENTS.name}-{number}:{end}" for number, end in ends.items()]

    def eventually_caught_up(self, *, within_s: float = 60) -> None:
        eventually(
            lambda: self.service.lag() == 0, within_s=within_s, every_s=0.3, why="nothing is left"
        )

    def _last(self, topic: str, of: type[Any]) -> dict[str, Any]:
        registry = Registry(RegistrySettings(url=self.service.stack.registry_url))
        try:
            decoder = Decoder(registry)
            return {
                (record.key or b"").decode(): decoder.decode_as(record.value, of)
                for record in self.service.records(topic)
            }
        finally:
            registry.close()


def add(sums: dict[str, dict[str, int]], currency: str, totals: Any) -> None:
    counted = sums.setdefault(
        currency, {"capturedMinor": 0, "refundedMinor": 0, "captures": 0, "refunds": 0}
    )
    counted["capturedMinor"] += totals.captured_minor
    counted["refundedMinor"] += totals.refunded_minor
    counted["captures"] += totals.payments
    counted["refunds"] += totals.refunds
    assert totals.net_minor == totals.captured_minor - totals.refunded_minor


@contextmanager
def revenue_deployed(stack: Stack, home: Path) -> Iterator[RevenueService]:
    """Topics and schemas must exist; no instance runs yet."""
    with service_deployed(stack, home, "revenue") as service:
        yield RevenueService(service)
