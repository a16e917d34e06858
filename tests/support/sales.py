"""
The language of the streams' tests: sales, counted by shop and by day.

Sold is on `sales`, by its receipt. It is re-keyed by shop, each sale counts once, and what counts
goes on to the days.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID, uuid5

import msgspec
from tests.support.probe_language import NAMESPACE

from orderflow.messaging.errors import ConfigurationError
from orderflow.messaging.kafka.topics import Cleanup, Topic
from orderflow.messaging.listener import Listener, Stateful
from orderflow.messaging.schemas.avro import Decoder
from orderflow.messaging.schemas.catalogue import CommittedSchema, SchemaCatalogue
from orderflow.messaging.streams.topology import Table, Topology
from orderflow.messaging.streams.windows import TumblingWindows
from orderflow.messaging.testing.bus import Bus, Faults, Worker

GROUP = "tally-service"
DAYS_7 = timedelta(days=7)
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
DAYS = TumblingWindows(timedelta(days=1))
BROKEN = 666
"""A sale of so many pieces can't be added up."""

T = TypeVar("T")


class _Event(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    pieces: int
    at: datetime

    @classmethod
    def type_name(cls) -> str:
        return f"sales.{cls.__name__}"

    @property
    def key(self) -> str:
        raise NotImplementedError

    @property
    def subject(self) -> str:
        return self.key

    @property
    def happened_at(self) -> datetime:
        return self.at


class Sold(_Event, frozen=True, kw_only=True, rename="camel"):
    receipt: str
    shop: str

    @property
    def key(self) -> str:
        return self.receipt


class ShopSale(Sold, frozen=True, kw_only=True, rename="camel"):
    @property
    def key(self) -> str:
        return self.shop


class ShopTotal(_Event, frozen=True, kw_only=True, rename="camel"):
    shop: str
    sales: int

    @property
    def key(self) -> str:
        return self.shop


class DaySale(_Event, frozen=True, kw_only=True, rename="camel"):
    day: str

    @property
    def key(self) -> str:
        return self.day


class DayTotal(_Event, frozen=True, kw_only=True, rename="camel"):
    day: str
    sales: int

    @property
    def key(self) -> str:
        return self.day


def _topic(name: str, event: type[_Event] | None, cleanup: Cleanup = Cleanup.DELETE) -> Topic:
    return Topic(
        name=name,
        key="see the event",
        retention=DAYS_7 if cleanup is Cleanup.DELETE else None,
        types=(event.type_name(),) if event else (),
        cleanup=cleanup,
        source="/shops" if event is Sold else "/tally",
    )


SALES = _topic("sales", Sold)
BY_SHOP = _topic("tally-by-shop-repartition", ShopSale)
SHOPS = _topic("sales-by-shop", ShopTotal, Cleanup.COMPACT)
FACTS = _topic("sales-by-shop-facts-changelog", None, Cleanup.COMPACT)
BY_DAY = _topic("tally-by-day-repartition", DaySale)
DAILY = _topic("sales-by-day", DayTotal, Cleanup.COMPACT)


def _of_shop(sold: Sold) -> Iterable[ShopSale]:
    yield ShopSale(receipt=sold.receipt, shop=sold.shop, pieces=sold.pieces, at=sold.at)


def _add_to_shop(total: ShopTotal | None, sale: ShopSale) -> ShopTotal | None:
    if sale.pieces == BROKEN:
        raise ValueError("told to fail")
    before = total or ShopTotal(shop=sale.shop, pieces=0, sales=0, at=sale.at)
    pieces = before.pieces + sale.pieces
    if pieces == 0:
        return None
    return ShopTotal(
        shop=sale.shop, pieces=pieces, sales=before.sales + 1, at=max(before.at, sale.at)
    )


def _of_day(sale: ShopSale) -> Iterable[DaySale]:
    yield DaySale(day=f"{DAYS.start_of(sale.at):%F}", pieces=sale.pieces, at=sale.at)


def _add_to_day(total: DayTotal | None, sale: DaySale) -> DayTotal:
    before = total or DayTotal(day=sale.day, pieces=0, sales=0, at=sale.at)
    return DayTotal(
        day=sale.day,
        pieces=before.pieces + sale.pieces,
        sales=before.sales + 1,
        at=max(before.at, sale.at),
    )


def receipt_id(receipt: str) -> UUID:
    return uuid5(NAMESPACE, receipt)


SHOP_TABLE = Table(
    name="shops",
    repartition=BY_SHOP,
    changelog=SHOPS,
    event=ShopSale,
    value=ShopTotal,
    fold=_add_to_shop,
    ranks=lambda total: {"pieces": total.pieces},
    fact=lambda sale: receipt_id(sale.receipt),
    facts=FACTS,
    forward=_of_day,
)
DAY_TABLE = Table(
    name="days",
    repartition=BY_DAY,
    changelog=DAILY,
    event=DaySale,
    value=DayTotal,
    fold=_add_to_day,
)
TOPOLOGY = Topology(source=SALES, rekey=_of_shop, tables=(SHOP_TABLE, DAY_TABLE))
EVENTS: Sequence[type[_Event]] = (Sold, ShopSale, ShopTotal, DaySale, DayTotal)


def catalogue() -> SchemaCatalogue:
    topics = (TOPOLOGY.source, *TOPOLOGY.publishes)
    return SchemaCatalogue(
        [CommittedSchema(type_name=e.type_name(), version=1, text=_schema(e)) for e in EVENTS],
        {topic.name: topic.types for topic in topics},
    )


def listener(topology: Topology = TOPOLOGY) -> Listener:
    return Listener(
        name="tally",
        group=GROUP,
        source="/tally",
        namespace=NAMESPACE,
        topics=topology.topics,
        handles=(Sold, *(table.event for table in topology.tables)),
        publishes=topology.publishes,
        delivery=Stateful(topology=topology),
    )


class Tally:
    """The tally on the in-memory bus: what was sold, and what the tables say."""

    def __init__(self, *, faults: Faults | None = None, workers: int = 1, seed: int = 0) -> None:
        self.bus = Bus(
            (listener(),),
            catalogue=catalogue(),
            faults=faults or Faults(wave_max=500),
            workers=workers,
            seed=seed,
        )
        self.broker, self.clock = self.bus.broker, self.bus.clock
        self.workers: list[Worker] = self.bus.workers["tally"]
        self._decoder = Decoder(self.bus.registry)

    def sell(
        self, shop: str, receipt: str, pieces: int = 1, *, at: datetime = NOON, to: str = ""
    ) -> None:
        sold = Sold(receipt=receipt, shop=shop, pieces=pieces, at=at)
        self.bus.publish(SALES.name, sold, to=to)

    def run(self) -> None:
        self.bus.run()

    def turn(self, times: int = 1, *, worker: int = 0) -> None:
        for _ in range(times):
            self.clock.advance(0.25)
            self.workers[worker].turn()

    @property
    def shops(self) -> dict[str, tuple[int, int]]:
        """Pieces and sales of each shop, as the stores say."""
        return {
            total.shop: (total.pieces, total.sales) for total in self._stored("shops", ShopTotal)
        }

    @property
    def days(self) -> dict[str, tuple[int, int]]:
        return {total.day: (total.pieces, total.sales) for total in self._stored("days", DayTotal)}

    @property
    def changelog(self) -> dict[str, tuple[int, int]]:
        """The same, as whoever reads the changelog to its end knows it."""
        totals: dict[str, tuple[int, int]] = {}
        for message in self.broker.records(SHOPS.name):
            key = (message.key() or b"").decode()
            totals.pop(key, None)
            value = message.value()
            if value is not None:
                total = self._decoder.decode_as(value, ShopTotal)
                totals[key] = (total.pieces, total.sales)
        return totals

    def reasons(self, worker: int = 0) -> list[str]:
        return self.workers[worker].container.reasons()

    def _stored(self, table: str, of: type[T]) -> list[T]:
        totals: list[T] = []
        for worker in self.workers:
            for task in worker.local.tasks.values():
                if task.table == table:
                    entries, _position = task.reader.between(b"", b"\xff", 10_000)
                    totals += [self._decode(entry.value, of) for entry in entries]
        return totals

    def _decode(self, value: bytes, of: Any) -> Any:
        return self._decoder.decode_as(value, of)


def refused(worker: Worker) -> str:
    """Why a container can't go on."""
    try:
        worker.turn()
    except ConfigurationError as error:
        return str(error)
    return ""


def _schema(event: type[_Event]) -> str:
    kinds = {
        "pieces": "int",
        "at": {"type": "long", "logicalType": "timestamp-millis"},
        "sales": "int",
    }
    names = [field.encode_name for field in msgspec.structs.fields(event)]
    fields = [{"name": name, "type": kinds.get(name, "string")} for name in names]
    name = event.__name__
    return json.dumps({"type": "record", "name": name, "namespace": "sales", "fields": fields})
