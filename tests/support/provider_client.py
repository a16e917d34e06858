"""The service's own client of the provider, for tests that make one call after the other."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

import uvloop

from orderflow.services.payment.config import ProviderSettings
from orderflow.services.payment.gateway import Answer, HttpGateway, ProviderAccount
from orderflow.services.payment.model import Payment, Refund

T = TypeVar("T")


class ProviderClient:
    """`HttpGateway` on an event loop that turns on a thread, as in the service."""

    def __init__(self, settings: ProviderSettings) -> None:
        self._gateway = HttpGateway(settings)
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def charge(self, payment: Payment, *, after_voids: int) -> Answer:
        return self._result(self._gateway.charge(payment, after_voids=after_voids))

    def find(self, payment: Payment) -> ProviderAccount:
        return self._result(self._gateway.find(payment))

    def void(self, payment: Payment, *, final: bool) -> Answer:
        return self._result(self._gateway.void(payment, final=final))

    def refund(self, payment: Payment, refund: Refund) -> Answer:
        return self._result(self._gateway.refund(payment, refund))

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._gateway.close)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    def _result(self, call: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(call, self._loop).result(30)
