"""
The payment service's own listener, over a provider in its own process or over HTTP.

`python -m orderflow.bench.payment.worker JSON`. Everything is the service's, its database included,
but for a provider in its process, which answers after a given time; and, for the baseline without
transactions, but for the transaction: there records are produced and flushed, then the offsets are
committed.
"""

from __future__ import annotations

import asyncio
import random
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from orderflow.contracts.schemas import CATALOGUE
from orderflow.messaging.container import Container, ContainerSettings
from orderflow.messaging.container.client.assignment import SLICE_S
from orderflow.messaging.container.client.broker_client import BrokerClient
from orderflow.messaging.container.client.kafka_client import Windows
from orderflow.messaging.kafka import clients
from orderflow.messaging.kafka.clients import TopicPartition
from orderflow.messaging.kafka.place import Place
from orderflow.messaging.kafka.transactions import Placed, Produced, Transactions
from orderflow.messaging.telemetry import configure, render_metrics
from orderflow.messaging.telemetry.traces import close_traces, configure_traces
from orderflow.messaging.work.calls import InlineCalls, calls_of
from orderflow.services.payment.bootstrap import SERVICE, listening
from orderflow.services.payment.gateway import Answer, HttpGateway, ProviderAccount, Verdict
from orderflow.services.payment.model import Payment, Refund


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """
    `over_http`: the service's own client, to the provider that the settings name. Else `inline`:
    calls are made on the listener's thread. A `slow_share` of calls takes `slow_s`.
    `scraped`: all metrics are written out once a second, as for Prometheus.
    """

    group: str
    calls_max: int
    over_http: bool = False
    inline: bool = False
    latency_s: float = 0.0
    slow_share: float = 0.0
    slow_s: float = 3.0
    transactional: bool = True
    scraped: bool = False


class Provider:
    """Captures every charge, after the task's latency."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._draw = random.Random(1)

    async def charge(self, payment: Payment, *, after_voids: int) -> Answer:
        del after_voids
        task = self._task
        wait_s = (
            task.slow_s
            if task.slow_share and self._draw.random() < task.slow_share
            else task.latency_s
        )
        if wait_s:
            await asyncio.sleep(wait_s)
        return Answer(Verdict.CAPTURED, payment.payment_id)

    async def find(self, payment: Payment) -> ProviderAccount:
        return ProviderAccount(charge=Answer(Verdict.CAPTURED, payment.payment_id))

    async def void(self, payment: Payment, *, final: bool) -> Answer:
        raise NotImplementedError

    async def refund(self, payment: Payment, refund: Refund) -> Answer:
        raise NotImplementedError


class _Idempotent(Transactions):
    """A producer without transactions: none is initialised."""

    def init(self) -> None:
        pass

    def abort_remains(self, offset: TopicPartition, group_metadata: Any) -> None:
        pass


class PlainClient(BrokerClient):
    """At least once: records, flush, synchronous offset commit."""

    def _new_producer(self) -> Transactions:
        self._plain = clients.producer(self._settings.kafka)
        return _Idempotent(self._plain, between=self._between)

    def transact(
        self, records: Sequence[Produced], windows: Windows, placed: Sequence[Placed] = ()
    ) -> Mapping[Place, int]:
        assert not placed, "no state here"
        for topic, key, value, headers in records:
            self._plain.produce(topic, value, key, headers=headers)
        while self._plain.flush(SLICE_S):
            self._between()
        self.commit_now(windows)
        return {}


def main(task: Task) -> None:
    settings = SERVICE.load()
    configure("payment", settings.telemetry)
    configure_traces("payment", settings.telemetry.traces)
    provider = HttpGateway(settings.payment.psp) if task.over_http else Provider(task)
    listener = listening(settings, provider, calls_max=task.calls_max)

    container = Container(
        ContainerSettings(
            listener=msgspec.structs.replace(listener, name=task.group, group=task.group),
            kafka=settings.kafka,
            registry=settings.registry,
            catalogue=CATALOGUE,
        ),
        connect=BrokerClient if task.transactional else PlainClient,
        calls=InlineCalls if task.inline else calls_of,
    )

    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    if task.scraped:
        threading.Thread(target=_scrape, args=(stop,), name="scrapes", daemon=True).start()
    container.run(stop)
    close_traces()


def _scrape(stop: threading.Event) -> None:
    while not stop.wait(1.0):
        render_metrics()


if __name__ == "__main__":
    main(msgspec.json.decode(sys.argv[1], type=Task))
