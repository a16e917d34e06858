"""
Stock in a real database: the handler as the container calls it, behind the inbox, by one worker
and by several.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.builders import an_order, new_order_id, paid, received, refunded, shipped
from tests.support.databases import catalogue, database_settings, empty_database
from tests.support.inbox_worker import Worker, handle_concurrently
from tests.support.stack import Stack
from tests.support.stock import audited, put_in_stock

import orderflow.services.inventory
from orderflow.contracts.events import StockRejected, StockReleased, StockReserved
from orderflow.contracts.ids import Sku
from orderflow.contracts.topics import INVENTORY
from orderflow.messaging import postgres
from orderflow.messaging.errors import Transient
from orderflow.messaging.http.actor import Actor
from orderflow.messaging.listener import InboxOutbox, Received
from orderflow.messaging.postgres import inbox, outbox
from orderflow.services.inventory import movements, repository
from orderflow.services.inventory.handlers import move_stock
from orderflow.services.inventory.listeners import LISTENER
from orderflow.services.inventory.model import ConsumedEvent, Movement, NothingReserved, Stock
from orderflow.services.inventory.movements import (
    BelowReserved,
    KeyReused,
    Overtaken,
    Receipt,
    StockTake,
)

SERVICE = Path(orderflow.services.inventory.__file__).parent
MIGRATIONS = SERVICE / "migrations"
SCHEMA = (SERVICE / "schema.sql").read_text()


@pytest.fixture(scope="module")
def url(stack: Stack) -> Iterator[str]:
    with empty_database(stack, "inventory") as url:
        postgres.migrate(url, MIGRATIONS)
        yield url


@pytest.fixture
def worker(url: str) -> Iterator[Worker]:
    with postgres.connect(
        database_settings(url), application_name="test", autocommit=True
    ) as connection:
        connection.execute("TRUNCATE stock, stock_movement, reservation, inbox")
    worker = Worker(url, LISTENER)
    yield worker
    worker.session.close()


def fill(worker: Worker, **on_hand: int) -> None:
    with worker.session.transaction() as cursor:
        for sku, count in on_hand.items():
            put_in_stock(cursor, sku, count)


def counts(worker: Worker) -> dict[str, tuple[int, int, int]]:
    with worker.session.transaction() as cursor:
        return {
            stock.sku: (stock.on_hand, stock.reserved, stock.shipped)
            for stock in repository.stock_page(cursor, after="", limit=100)
        }


def held_by_reservations(worker: Worker) -> Counter[str]:
    """Pieces by SKU, as the reservations that stand would have it."""
    with worker.session.transaction() as cursor:
        cursor.execute(
            "SELECT line->>'sku', sum((line->>'quantity')::int)::int FROM reservation,"
            " jsonb_array_elements(lines) line"
            " WHERE status = 'RESERVED' GROUP BY 1"
        )
        return Counter(dict(cursor.fetchall()))


def test_schema_sql_is_all_migrations_together_and_has_the_kits_tables(
    stack: Stack, url: str
) -> None:
    with empty_database(stack, "inventory_schema") as described:
        with postgres.connect(database_settings(described), application_name="test") as connection:
            connection.execute(SCHEMA.encode())
        assert catalogue(described) == catalogue(url)
    for table in (inbox.DDL, outbox.ddl([INVENTORY.name])):
        assert table in SCHEMA
    for upgrade in (inbox.UPGRADE, outbox.BOUNDS, outbox.MEASURE, outbox.HOLD, outbox.BY_KEY):
        assert any(upgrade in migration.read_text() for migration in MIGRATIONS.glob("*.sql"))
    assert isinstance(LISTENER.delivery, InboxOutbox)
    assert LISTENER.delivery.handler is move_stock


def test_a_batch_of_every_kind_is_one_effect_and_survives_a_reading_back(worker: Worker) -> None:
    fill(worker, CABLE=10, LAMP=4)
    kept, short, back, gone, early, empty = (new_order_id() for _ in range(6))
    events = worker.handle(
        *(
            received(paid(an_order(order, ("CABLE", 2), ("LAMP", 1))))
            for order in (kept, back, gone)
        )
    )
    assert [type(event) for event in events] == [StockReserved] * 3
    batch: list[ConsumedEvent] = [
        refunded(an_order(back)),
        shipped(an_order(gone)),
        paid(an_order(short, ("CABLE", 1), ("LAMP", 3))),
        refunded(an_order(early)),
        paid(an_order(empty, minor=0)),
    ]
    events = worker.handle(*(received(event) for event in batch))
    assert [(event.order_id, type(event)) for event in events] == [
        (back, StockReleased),
        (short, StockRejected),
        (empty, StockReserved),
    ]
    assert counts(worker) == {"CABLE": (8, 2, 2), "LAMP": (3, 1, 1)}
    assert recorded(worker, "CABLE") == [(1, "RECEIPT", 10, 10), (2, "SHIPMENT", -2, 8)]
    assert (
        worker.handle(
            received(paid(an_order(early, ("CABLE", 1)))),
            received(paid(an_order(kept, ("CABLE", 1)))),
        )
        == []
    )
    with worker.session.transaction() as cursor:
        reservations = [
            repository.find_reservation(cursor, order)
            for order in (kept, short, back, gone, early, empty)
        ]
    assert [reservation and reservation.status.value for reservation in reservations] == [
        "RESERVED",
        "REJECTED",
        "RELEASED",
        "SHIPPED",
        "RELEASED",
        "RESERVED",
    ]


@pytest.mark.parametrize("inbox_forgets", [False, True])
def test_a_repeat_writes_no_row_anew_and_tells_nothing(
    worker: Worker, *, inbox_forgets: bool
) -> None:
    fill(worker, CABLE=10)
    orders = [new_order_id() for _ in range(4)]
    records = [received(paid(an_order(order, ("CABLE", 3)))) for order in orders]
    assert len(worker.handle(*records)) == 4
    before = worker.rows("stock"), worker.rows("reservation")
    if inbox_forgets:
        with worker.session.transaction() as cursor:
            cursor.execute("TRUNCATE inbox")
    for _ in range(3):
        assert worker.handle(*records) == []
    assert (worker.rows("stock"), worker.rows("reservation")) == before


def test_a_batch_of_five_hundred_takes_as_many_statements_as_one_record(
    url: str, worker: Worker
) -> None:
    fill(worker, **{f"SKU-{number}": 1_000 for number in range(20)})
    standing = [new_order_id() for _ in range(20)]

    def everything(count: int) -> list[Received]:
        new: list[ConsumedEvent] = [
            paid(
                an_order(new_order_id(), *((f"SKU-{(number + step) % 20}", 1) for step in range(3)))
            )
            for number in range(count)
        ]
        return [
            received(event)
            for event in (
                *new,
                refunded(an_order(standing.pop())),
                shipped(an_order(standing.pop())),
            )
        ]

    worker.handle(*(received(paid(an_order(order, ("SKU-1", 1)))) for order in standing))
    few, many = (worker.statements(everything(count)) for count in (1, 498))
    assert few == many == 5
    assert audited(url) == []


def test_four_workers_who_want_the_same_products_reserve_exactly_what_fits(
    url: str, worker: Worker
) -> None:
    skus = [f"SKU-{number:02}" for number in range(20)]
    fill(worker, **dict.fromkeys(skus, 100))
    random = Random(7)
    orders = [
        paid(
            an_order(
                new_order_id(), *((sku, random.randint(1, 3)) for sku in random.sample(skus, 3))
            )
        )
        for _ in range(2_000)
    ]
    records = [received(event) for event in orders]
    events, again = handle_concurrently(
        url, LISTENER, [records[slot::4] for slot in range(4)], batch=50
    )
    reserved = [event for event in events if isinstance(event, StockReserved)]
    kept: Counter[str] = Counter()
    for event in reserved:
        for line in event.lines:
            kept[line.sku] += line.quantity
    assert len(events) == 2_000
    assert {len(event.lines) for event in reserved} == {3}
    assert (
        {sku: reserved for sku, (_, reserved, _) in counts(worker).items()}
        == kept
        == held_by_reservations(worker)
    )
    assert all(reserved <= on_hand == 100 for on_hand, reserved, _ in counts(worker).values())
    left = {sku: 100 - reserved for sku, (_, reserved, _) in counts(worker).items()}
    answered = {event.order_id: event for event in events}
    for order in orders:
        fits = all(line.quantity <= left[line.sku] for line in order.lines)
        assert not (fits and isinstance(answered[order.order_id], StockRejected)), (
            "rejected, and would still fit"
        )
    assert again == 0, "a worker was undone: locks are not taken in one order"


def test_the_same_records_at_eight_workers_at_once_have_one_effect(
    url: str, worker: Worker
) -> None:
    fill(worker, CABLE=1_000)
    records = [received(paid(an_order(new_order_id(), ("CABLE", 1)))) for _ in range(200)]
    shuffled = [Random(slot).sample(records, len(records)) for slot in range(8)]
    events, _ = handle_concurrently(url, LISTENER, shuffled, batch=25)
    assert Counter(event.order_id for event in events) == Counter(
        record.event.order_id for record in records
    )
    assert counts(worker) == {"CABLE": (1_000, 200, 0)}


def test_payment_and_refund_of_one_order_at_once_end_with_nothing_kept(
    url: str, worker: Worker
) -> None:
    fill(worker, CABLE=1_000)
    orders = [new_order_id() for _ in range(300)]
    payments = [received(paid(an_order(order, ("CABLE", 1)))) for order in orders]
    refunds = [received(refunded(an_order(order))) for order in reversed(orders)]
    events, _ = handle_concurrently(url, LISTENER, [payments, refunds], batch=7)
    reserved = {event.order_id for event in events if isinstance(event, StockReserved)}
    released = {event.order_id for event in events if isinstance(event, StockReleased)}
    assert reserved == released
    assert counts(worker) == {"CABLE": (1_000, 0, 0)}


def test_a_reservation_that_was_opened_meanwhile_is_found_the_next_time(worker: Worker) -> None:
    """The window between reading that there is none and writing one."""
    fill(worker, CABLE=10)
    order = new_order_id()
    assert worker.handle(received(refunded(an_order(order)))) == []

    with pytest.raises(Transient, match="another worker"):
        worker.handle_blindly(
            received(paid(an_order(order, ("CABLE", 1)))), blind_to="FROM reservation"
        )
    assert worker.handle(received(paid(an_order(order, ("CABLE", 1))))) == []
    assert counts(worker) == {"CABLE": (10, 0, 0)}


def test_the_table_itself_refuses_what_would_be_oversold(worker: Worker) -> None:
    fill(worker, CABLE=5)
    for change in ("reserved = 6", "reserved = -1", "on_hand = -1", "shipped = -1", "received = 6"):
        with pytest.raises(postgres.CheckViolation), worker.session.transaction() as cursor:
            cursor.execute(f"UPDATE stock SET {change}".encode())


def test_a_stock_take_corrects_what_it_saw_and_nothing_that_moved_since(worker: Worker) -> None:
    """Counted at nine, shipped a minute later, written another minute later: no phantom pieces."""
    fill(worker, CABLE=100)
    order = new_order_id()
    worker.handle(received(paid(an_order(order, ("CABLE", 10)))))
    seen = stock_of(worker, "CABLE").movements
    worker.handle(received(shipped(an_order(order))))

    with pytest.raises(Overtaken, match="90 of CABLE are there after movement 2, not 1"):
        take(worker, "CABLE", 100, seen=seen)
    assert counts(worker) == {"CABLE": (90, 0, 10)}

    take(worker, "CABLE", 88, seen=2)
    assert counts(worker) == {"CABLE": (88, 0, 10)}
    assert recorded(worker, "CABLE") == [
        (1, "RECEIPT", 100, 100),
        (2, "SHIPMENT", -10, 90),
        (3, "CORRECTION", -2, 88),
    ]


def test_a_stock_take_is_never_below_what_is_reserved(worker: Worker) -> None:
    fill(worker, CABLE=5)
    worker.handle(received(paid(an_order(new_order_id(), ("CABLE", 3)))))
    with pytest.raises(BelowReserved, match="3 of CABLE are reserved"):
        take(worker, "CABLE", 2, seen=1)
    take(worker, "CABLE", 3, seen=1)
    assert counts(worker) == {"CABLE": (3, 3, 0)}


def test_a_receipt_is_booked_once_for_good_and_one_key_is_one_receipt(worker: Worker) -> None:
    first, again = (
        receive(worker, "CABLE", 50, key="note-1"),
        receive(worker, "CABLE", 50, "note-1"),
    )
    assert first == again
    with pytest.raises(KeyReused, match="a receipt of 50 of CABLE has this key"):
        receive(worker, "CABLE", 51, "note-1")
    receive(worker, "LAMP", 7, "note-1")
    assert counts(worker) == {"CABLE": (50, 0, 0), "LAMP": (7, 0, 0)}


def test_receipts_at_once_lose_none_and_double_none(url: str, worker: Worker) -> None:
    def deliver(slot: int) -> None:
        sender = Worker(url, LISTENER)
        for number in range(20):
            receive(sender, "CABLE", 1, key=f"note-{number + slot // 2 * 20}")
        sender.session.close()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(deliver, range(4)))
    assert counts(worker) == {"CABLE": (40, 0, 0)}
    assert audited(url) == []


_ORDERS = st.integers(0, 3)
_SKUS = st.sampled_from(("CABLE", "LAMP"))
_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("receive"), _SKUS, st.integers(1, 5)),
        st.tuples(st.just("take"), _SKUS, st.integers(0, 9)),
        st.tuples(st.just("take late"), _SKUS, st.integers(0, 9)),
        st.tuples(st.just("pay"), _ORDERS, st.integers(1, 3)),
        st.tuples(st.just("refund"), _ORDERS, st.just(0)),
        st.tuples(st.just("ship"), _ORDERS, st.just(0)),
    ),
    max_size=20,
)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=_STEPS)
def test_whatever_happens_to_stock_its_movements_add_up_to_it(
    url: str, worker: Worker, steps: list[tuple[str, str | int, int]]
) -> None:
    with worker.session.transaction() as cursor:
        cursor.execute("TRUNCATE stock, stock_movement, reservation, inbox")
    fill(worker, CABLE=4, LAMP=4)
    orders = [new_order_id() for _ in range(4)]

    for number, (step, subject, count) in enumerate(steps):
        if step == "receive":
            receive(worker, str(subject), count, key=f"note-{number}")
            continue
        if step.startswith("take"):
            seen = stock_of(worker, str(subject)).movements - ("late" in step)
            with suppress(Overtaken, BelowReserved):
                take(worker, str(subject), count, seen=seen)
            continue

        order = orders[int(subject)]
        with suppress(NothingReserved):
            match step:
                case "pay":
                    lines = (("CABLE", count), ("LAMP", 1))
                    worker.handle(received(paid(an_order(order, *lines))))
                case "refund":
                    worker.handle(received(refunded(an_order(order))))
                case _:
                    worker.handle(received(shipped(an_order(order))))

    assert audited(url) == []


def test_the_audit_names_the_product_whose_books_are_wrong(url: str, worker: Worker) -> None:
    fill(worker, CABLE=5, LAMP=5)
    with worker.session.transaction() as cursor:
        cursor.execute("UPDATE stock SET on_hand = 6, received = 6 WHERE sku = 'LAMP'")
    [difference] = audited(url)
    assert (difference.sku, difference.recorded.on_hand) == ("LAMP", 6)
    assert difference.added_up.on_hand == 5


def test_stock_from_before_movements_were_recorded_gets_its_opening_movements(
    stack: Stack,
) -> None:
    with empty_database(stack, "inventory_old") as old:
        with postgres.connect(database_settings(old), application_name="test") as connection:
            for name in ("0001.inventory.sql", "0002.stock.sql"):
                connection.execute((MIGRATIONS / name).read_bytes())
            connection.execute(
                "INSERT INTO stock VALUES"
                " ('CABLE', 90, 4, 10), ('DESK', 0, 0, 0), ('DOCK', 0, 0, 3)"
            )
            connection.execute(
                "INSERT INTO reservation VALUES"
                """ ('1', 'c', 'p', 'RESERVED', '[{"sku": "CABLE", "quantity": 4}]', now(),"""
                """  now()),"""
                """ ('2', 'c', 'p', 'SHIPPED', '[{"sku": "CABLE", "quantity": 10},"""
                """   {"sku": "DOCK", "quantity": 3}]', now(), now())"""
            )
            for migration in sorted(MIGRATIONS.glob("*.sql"))[2:]:
                connection.execute(migration.read_bytes())
        assert audited(old) == []


def stock_of(worker: Worker, sku: str) -> Stock:
    with worker.session.transaction() as cursor:
        stock = repository.find_stock(cursor, Sku(sku))
    assert stock is not None
    return stock


def take(worker: Worker, sku: str, on_hand: int, *, seen: int | None) -> Stock:
    command = StockTake(sku=Sku(sku), on_hand=on_hand, actor=Actor("clerk"), reason=None, seen=seen)
    with worker.session.transaction() as cursor:
        return movements.take_stock(cursor, command)


def receive(worker: Worker, sku: str, quantity: int, key: str) -> Movement:
    command = Receipt(sku=Sku(sku), quantity=quantity, key=key, actor=Actor("clerk"), reason=None)
    with worker.session.transaction() as cursor:
        return movements.receive(cursor, command)


def recorded(worker: Worker, sku: str) -> list[tuple[int, str, int, int]]:
    """Sequence, kind, quantity and what was there after it, the oldest first."""
    with worker.session.transaction() as cursor:
        rows = movements.page(cursor, Sku(sku), before=1_000, limit=100)
    return [(row.sequence, row.kind.value, row.quantity, row.on_hand) for row in reversed(rows)]
