"""Adds records of the topics to what is known of orders and customers: one batch at a time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from orderflow.books.accounts import OpenLetter
from orderflow.books.sides.topics import (
    ChangeRecord,
    OrderRecord,
    RevenueRecord,
    Unreadable,
    entry_of,
    fact_of,
    with_event,
    with_sums,
)
from orderflow.books.store import Batch, BooksStore, CustomerFold, LetterRow
from orderflow.contracts.events import OrderCreated, PaymentRequested
from orderflow.contracts.roster import ALL_GROUPS
from orderflow.contracts.topics import DEAD_LETTER_DISPOSITIONS, NOTIFICATIONS, PAYMENTS
from orderflow.messaging.dead_letters.evidence import read_evidence
from orderflow.messaging.event import CE_CORRELATION_ID, CE_ID, CE_TYPE
from orderflow.messaging.kafka.group_topics import dead_letter_topic_name, is_dead_letter_topic
from orderflow.messaging.kafka.place import Place
from orderflow.messaging.kafka.reader import ConsumerRecord
from orderflow.messaging.schemas.avro import Decoder

OWNERS = {
    dead_letter_topic_name(topic.name, group): group
    for group, topics in ALL_GROUPS.items()
    for topic in topics
}
"""Whose letters a dead-letter topic has, whatever the headers of a letter say."""

CHANGE = "fact/"
"""A fact is counted once as a payment's event, and once as a change of revenue."""


def fold(
    store: BooksStore,
    records: Sequence[ConsumerRecord],
    positions: Mapping[Place, int],
    decoder: Decoder,
) -> None:
    """Add the records and the positions behind them, both or neither. Raises as `entry_of`."""
    batch = Batch(
        orders={}, customers={}, facts=set(), references={}, letters=[], paid={}, dispositions={}
    )
    entries = [entry_of(record, decoder) for record in records if not _was_taken(record, batch)]
    known = _Known(store, batch, entries)

    for entry in entries:
        match entry:
            case OrderRecord():
                known.add_event(entry)
            case ChangeRecord():
                known.add_change(entry)
            case RevenueRecord():
                before = known.customer(entry.customer_id)
                batch.customers[entry.customer_id] = msgspec.structs.replace(
                    before, revenue=dict(entry.revenue)
                )
            case Unreadable():
                batch.unreadable += 1
    store.write(batch, positions)


def _was_taken(record: ConsumerRecord, batch: Batch) -> bool:
    """Take a dead letter, or what became of it; False for all other records."""
    if record.topic == DEAD_LETTER_DISPOSITIONS.name:
        batch.dispositions[_text(record.key)] = _kind(record.value)
        return True
    if not is_dead_letter_topic(record.topic):
        return False

    headers = dict(record.headers)
    letter = OpenLetter(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        group=OWNERS.get(record.topic) or read_evidence(record.headers).group or "",
        event_id=_text(headers.get(CE_ID)),
        type=_text(headers.get(CE_TYPE)).rpartition(".")[2],
    )
    order_id = _text(headers.get(CE_CORRELATION_ID)) or _text(record.key)
    batch.letters.append(LetterRow(order_id=order_id, letter=letter))
    return True


class _Known:
    """What is known of the orders, customers and facts of a batch, changed as it is added."""

    def __init__(self, store: BooksStore, batch: Batch, entries: Iterable[object]) -> None:
        orders = [entry for entry in entries if isinstance(entry, OrderRecord)]
        others = [entry for entry in entries if isinstance(entry, ChangeRecord | RevenueRecord)]
        customer_ids = {entry.event.customer_id for entry in orders} | {
            entry.customer_id for entry in others
        }
        facts = {_fact(entry) for entry in orders if fact_of(entry.event)} | {
            CHANGE + entry.fact_id for entry in others if isinstance(entry, ChangeRecord)
        }

        self._batch = batch
        self._orders = store.events(sorted({entry.order_id for entry in orders}))
        self._customers = store.customers(sorted(customer_ids))
        self._facts = store.known_facts(sorted(facts))

    def customer(self, customer_id: str) -> CustomerFold:
        return self._batch.customers.get(customer_id) or self._customers.get(
            customer_id, CustomerFold()
        )

    def add_event(self, entry: OrderRecord) -> None:
        event, batch = entry.event, self._batch
        before = batch.orders.get(entry.order_id) or self._orders.get(entry.order_id, ())
        after = with_event(before, event)
        batch.orders[entry.order_id] = after
        if event.type in (OrderCreated.__name__, PaymentRequested.__name__) and event.subject_id:
            batch.references[event.subject_id] = entry.order_id
        if len(after) == len(before):
            # Once more under its own id: readers absorb it, and so does what is added up.
            return
        if event.topic == PAYMENTS.name:
            batch.paid[event.partition, event.offset] = entry.order_id

        customer = self.customer(event.customer_id)
        more = fact_of(event)
        if more is not None and self._is_new(_fact(entry)):
            paid = with_sums(customer.paid, event.currency, more)
            batch.customers[event.customer_id] = msgspec.structs.replace(customer, paid=paid)
        if event.topic == NOTIFICATIONS.name:
            batch.customers[event.customer_id] = msgspec.structs.replace(
                customer,
                announced=customer.announced + 1,
                last_announced=max(customer.last_announced, event.number),
            )

    def add_change(self, entry: ChangeRecord) -> None:
        if self._is_new(CHANGE + entry.fact_id):
            customer = self.customer(entry.customer_id)
            changed = with_sums(customer.changed, entry.currency, entry.sums)
            self._batch.customers[entry.customer_id] = msgspec.structs.replace(
                customer, changed=changed
            )

    def _is_new(self, fact: str) -> bool:
        if fact in self._facts:
            return False
        self._facts.add(fact)
        self._batch.facts.add(fact)
        return True


def _fact(entry: OrderRecord) -> str:
    return entry.event.subject_id


class _Disposition(msgspec.Struct):
    kind: str


def _kind(value: bytes | None) -> str:
    """What became of a letter; "" if that is taken back, OTHER if it can't be read."""
    if value is None:
        return ""
    try:
        return msgspec.json.decode(value, type=_Disposition).kind or "OTHER"
    except (msgspec.DecodeError, UnicodeDecodeError):
        return "OTHER"


def _text(raw: bytes | None) -> str:
    return (raw or b"").decode(errors="replace")
