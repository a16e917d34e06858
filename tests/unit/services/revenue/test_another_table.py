"""
A new aggregation is a table and its functions: orders per day and SKU, in this file alone.

Nothing of the kit or of a service is changed or replaced; the container is the real one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime, timedelta
from uuid import UUID, uuid5

import msgspec
from tests.support.builders import AT, an_order

from orderflow.contracts import NAMESPACE
from orderflow.contracts.events import OrderCreated
from orderflow.contracts.schemas import CATALOGUE
from orderflow.contracts.topics import ORDERS
from orderflow.messaging.kafka.topics import Cleanup, Topic
from orderflow.messaging.listener import Listener, Stateful
from orderflow.messaging.schemas.avro import Decoder
from orderflow.messaging.schemas.catalogue import CommittedSchema, SchemaCatalogue
from orderflow.messaging.streams.topology import Table, Topology
from orderflow.messaging.streams.windows import TumblingWindows
from orderflow.messaging.testing.bus import Bus

DAYS = TumblingWindows(timedelta(days=1))


class OrderedSku(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A line of an order, and what a day's lines of one SKU come to."""

    key: str
    line_id: str
    orders: int
    quantity: int
    at: datetime

    @classmethod
    def type_name(cls) -> str:
        return f"demand.{cls.__name__}"

    @property
    def subject(self) -> str:
        return self.key

    @property
    def happened_at(self) -> datetime:
        return self.at


class SkuByDay(OrderedSku, frozen=True, kw_only=True, rename="camel"):
    pass


def lines(order: OrderCreated) -> Iterable[OrderedSku]:
    day = f"{DAYS.start_of(order.occurred_at):%Y-%m-%d}"
    for line in order.lines:
        line_id = uuid5(NAMESPACE, f"{order.order_id}/{line.sku}")
        yield OrderedSku(
            key=f"{day}/{line.sku}",
            line_id=str(line_id),
            orders=1,
            quantity=line.quantity,
            at=order.occurred_at,
        )


def add(total: SkuByDay | None, line: OrderedSku) -> SkuByDay:
    return SkuByDay(
        key=line.key,
        line_id="",
        orders=line.orders + (total.orders if total else 0),
        quantity=line.quantity + (total.quantity if total else 0),
        at=line.at,
    )


def topic(name: str, event: type[OrderedSku] | None, *, compacted: bool) -> Topic:
    return Topic(
        name=name,
        key="<day>/<sku>",
        retention=None if compacted else timedelta(days=7),
        types=(event.type_name(),) if event else (),
        cleanup=Cleanup.COMPACT if compacted else Cleanup.DELETE,
    )


DEMAND = Table(
    name="demand",
    repartition=topic("demand-repartition", OrderedSku, compacted=False),
    changelog=topic("demand-by-day", SkuByDay, compacted=True),
    event=OrderedSku,
    value=SkuByDay,
    fold=add,
    fact=lambda line: UUID(line.line_id),
    facts=topic("demand-facts-changelog", None, compacted=True),
)
TOPOLOGY = Topology(source=ORDERS, rekey=lines, tables=(DEMAND,))
LISTENER = Listener(
    name="demand",
    group="demand-service",
    source="/demand",
    namespace=NAMESPACE,
    topics=TOPOLOGY.topics,
    handles=(OrderCreated, OrderedSku),
    publishes=TOPOLOGY.publishes,
    delivery=Stateful(topology=TOPOLOGY),
)


def test_orders_per_day_and_sku() -> None:
    bus = Bus((LISTENER,), catalogue=catalogue(), seed=5)
    for _ in range(3):
        bus.publish(ORDERS.name, an_order(None, ("MOUSE-01", 2), ("KEYB-01", 1), at=AT))
    late = an_order(None, ("MOUSE-01", 5), at=AT + timedelta(days=1))
    for _ in range(2):
        bus.publish(ORDERS.name, late)
    bus.run()

    (worker,) = bus.workers["demand"]
    decoder = Decoder(bus.registry)
    totals = {
        entry.key.decode(): decoder.decode_as(entry.value, SkuByDay)
        for task in worker.local.tasks.values()
        for entry in task.reader.between(b"", b"\xff", 100)[0]
    }
    day, next_day = f"{AT:%Y-%m-%d}", f"{AT + timedelta(days=1):%Y-%m-%d}"
    assert {key: (total.orders, total.quantity) for key, total in totals.items()} == {
        f"{day}/MOUSE-01": (3, 6),
        f"{day}/KEYB-01": (3, 3),
        f"{next_day}/MOUSE-01": (1, 5),
    }


def catalogue() -> SchemaCatalogue:
    ours = [
        CommittedSchema(type_name=event.type_name(), version=1, text=schema(event))
        for event in (OrderedSku, SkuByDay)
    ]
    orders = [CATALOGUE.versions(name)[-1] for name in ORDERS.types]
    topics = (ORDERS, *TOPOLOGY.publishes)
    return SchemaCatalogue([*orders, *ours], {topic.name: topic.types for topic in topics})


def schema(event: type[OrderedSku]) -> str:
    kinds = {
        "orders": "int",
        "quantity": "int",
        "at": {"type": "long", "logicalType": "timestamp-millis"},
    }
    names = [field.encode_name for field in msgspec.structs.fields(event)]
    fields = [{"name": name, "type": kinds.get(name, "string")} for name in names]
    name = event.__name__
    return json.dumps({"type": "record", "name": name, "namespace": "demand", "fields": fields})
