"""The sides of the books on real databases, read by a user who may do nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest
from tests.support.databases import database_settings, empty_database
from tests.support.stack import Stack

import orderflow.services
from orderflow.books.accounts import (
    CustomerSide,
    FollowedSide,
    NotificationRow,
    OrderSide,
    PaymentRow,
    PaymentSide,
    RefundRow,
    ReservationSide,
    ShipmentSide,
    SkuAccount,
    StatusChange,
)
from orderflow.books.settings import BooksDatabases, BooksSection
from orderflow.books.sides import services
from orderflow.books.sides.open_sides import open_sides
from orderflow.books.sides.side import OrderReader, Sides
from orderflow.books.sides.views import READ_ONLY, Views
from orderflow.messaging import postgres
from orderflow.messaging.errors import Unavailable
from orderflow.messaging.postgres import BY_KEY

SERVICES = Path(next(iter(orderflow.services.__path__)))
ORDER, PAYMENT, REFUND, EVENT, NOTE = (
    f"019ac5d2-6c4e-7b1a-9d3f-{number:012d}" for number in range(1, 6)
)
UNKNOWN = "019ac5d2-6c4e-7b1a-9d3f-ffffffffffff"
AT = datetime(2026, 11, 29, 12, tzinfo=UTC)
FILLED = {
    "order": f"""
        INSERT INTO orders VALUES ('{ORDER}', 'anna', 'CANCELLED', 2, 4, 1, 'REFUNDED', '{PAYMENT}',
            'REJECTED', 'AUTOMATIC', 'pm_ok', '[]', 500, 'EUR', '{AT}', '{AT}', false,
            NULL, '{AT}');
        INSERT INTO order_history VALUES
            ('{ORDER}', 2, 2, 'CANCELLED', '', '{AT}', '{NOTE}', 't', 'c'),
            ('{ORDER}', 3, 2, 'CANCELLED', '', '{AT}', NULL, 't', 'c'),
            ('{ORDER}', 1, 1, 'CREATED', '', '{AT}', '{EVENT}', 't', 'c')""",
    "payment": f"""
        INSERT INTO known_order VALUES ('{ORDER}');
        INSERT INTO closed_order VALUES ('{ORDER}', 'anna', 'CUSTOMER', '{EVENT}', '{AT}');
        INSERT INTO payment (order_id, attempt, payment_id, customer_id, state, live, amount_minor,
            currency, payment_method, lines, provider_reference, captured_minor, refunded_minor,
            created_at, settled_at, settled_by)
        VALUES ('{ORDER}', 1, '{PAYMENT}', 'anna', 'SUCCEEDED', true, 500, 'EUR', 'pm_ok', '[]',
            'ch_1', 500, 500, '{AT}', '{AT}', '{EVENT}');
        INSERT INTO refund VALUES ('{REFUND}', '{ORDER}', 1, 500, 'CUSTOMER', 'SUCCEEDED', 're_1',
            '{AT}', '{EVENT}', '{AT}')""",
    "inventory": f"""
        INSERT INTO stock VALUES ('CABLE', 9, 2, 1, 10, 0, 2), ('LAMP', 0, 0, 0, 0, 0, 0);
        INSERT INTO stock_movement VALUES
            ('CABLE', 1, 'RECEIPT', 10, 10, NULL, 'k', 'a', NULL, '{AT}'),
            ('CABLE', 2, 'SHIPMENT', -1, 9, 'gone', NULL, NULL, NULL, '{AT}');
        INSERT INTO reservation VALUES
            ('{ORDER}', 'anna', '{PAYMENT}', 'RESERVED',
             '[{{"sku": "CABLE", "quantity": 1}}, {{"sku": "CABLE", "quantity": 1}}]',
             '{AT}', '{AT}'),
            ('gone', 'anna', '{PAYMENT}', 'SHIPPED', '[{{"sku": "CABLE", "quantity": 1}}]',
             '{AT}', '{AT}');
        INSERT INTO inbox VALUES ('inventory', '{EVENT}')""",
    "notification": f"""
        INSERT INTO customer VALUES ('anna', 1);
        INSERT INTO delivery (notification_id, customer_id, order_id, kind, channel, subject, text,
            cause_id, cause_type, correlation_id, state, sequence, occurred_at)
        VALUES ('{NOTE}', 'anna', '{ORDER}', 'ORDER_CREATED', 'EMAIL', 's', 't', '{EVENT}',
            'orderflow.OrderCreated', 'c', 'SENT', 1, '{AT}'),
            ('{UNKNOWN}', 'anna', '{ORDER}', 'ORDER_SHIPPED', 'EMAIL', 's', 't', '{NOTE}',
            'orderflow.OrderEvent', 'c', 'PENDING', NULL, NULL)""",
    "fulfilment": f"INSERT INTO shipment VALUES ('{ORDER}', 'anna', 'CALLED_OFF', 2)",
    "analytics": f"""
        INSERT INTO followed_order VALUES ('{ORDER}', 'CANCELLED', 2);
        INSERT INTO status_change VALUES ('{ORDER}', 2, 'CANCELLED', '{AT}'),
            ('{ORDER}', 1, 'CREATED', '{AT}')""",
}


@pytest.fixture(scope="module")
def urls(stack: Stack) -> Iterator[dict[str, str]]:
    """Each service's database with some rows, as a user who may only SELECT from its views."""
    role = f"books_{uuid4().hex[:8]}"
    with ExitStack() as databases:
        urls = {
            name: databases.enter_context(empty_database(stack, f"books_{name}")) for name in FILLED
        }
        administrator = database_settings(stack.postgres_url("postgres"))
        with postgres.connect(administrator, application_name="test") as connection:
            connection.execute(f"CREATE ROLE {role} LOGIN".encode())
        for name, url in urls.items():
            postgres.migrate(url, SERVICES / name / "migrations")
            with postgres.connect(database_settings(url), application_name="test") as connection:
                connection.execute(FILLED[name].encode())
                views = connection.execute(
                    "SELECT string_agg(viewname, ', ') FROM pg_views WHERE schemaname = 'public'"
                ).fetchone()
                assert views is not None
                connection.execute(f"GRANT SELECT ON {views[0]} TO {role}".encode())
        yield {name: url.replace("postgres@", f"{role}@") for name, url in urls.items()}

    with postgres.connect(administrator, application_name="test") as connection:
        connection.execute(f"DROP ROLE {role}".encode())


@pytest.fixture(scope="module")
def sides(urls: dict[str, str]) -> Iterator[Sides]:
    settings = BooksSection(
        databases=BooksDatabases.model_validate(urls), ledger_url="http://localhost:9"
    )
    with open_sides(settings) as sides:
        yield sides


def test_each_side_says_what_its_service_has_of_an_order(sides: Sides) -> None:
    changes = tuple(
        StatusChange(version=version, status=status, event_id=event_id, occurred_at=AT)
        for version, status, event_id in ((1, "CREATED", EVENT), (2, "CANCELLED", NOTE))
    )
    assert read(sides.order) == OrderSide(
        customer_id="anna",
        status="CANCELLED",
        version=2,
        revision=4,
        amount_minor=500,
        currency="EUR",
        payment_mode="AUTOMATIC",
        payment_attempt=1,
        payment_state="REFUNDED",
        payment_id=PAYMENT,
        stock="REJECTED",
        waiting_for=None,
        created_at=AT,
        changes=changes,
    )
    money = {"amount_minor": 500, "currency": "EUR", "state": "SUCCEEDED", "payment_id": PAYMENT}
    payment = PaymentRow(
        attempt=1,
        customer_id="anna",
        captured_minor=500,
        refunded_minor=500,
        provider_reference="ch_1",
        **money,  # type: ignore[arg-type]
    )
    refund = RefundRow(refund_id=REFUND, provider_reference="re_1", **money)  # type: ignore[arg-type]
    assert read(sides.payment) == PaymentSide(
        is_closed=True, payments=(payment,), refunds=(refund,)
    )
    assert read(sides.reservation) == ReservationSide(
        customer_id="anna", payment_id=PAYMENT, status="RESERVED", lines={"CABLE": 2}
    )
    assert read(sides.shipment) == ShipmentSide(customer_id="anna", status="CALLED_OFF", version=2)
    notifications = sides.notification.read([ORDER])[ORDER]
    assert read(sides.notification) == notifications
    assert notifications[0] == NotificationRow(
        notification_id=NOTE,
        customer_id="anna",
        kind="ORDER_CREATED",
        cause_id=EVENT,
        cause_type="orderflow.OrderCreated",
        state="SENT",
        sequence=1,
    )
    assert [(each.state, each.sequence) for each in notifications[1:]] == [("PENDING", None)]
    assert read(sides.followed) == FollowedSide(
        status="CANCELLED", version=2, counted=((1, "CREATED"), (2, "CANCELLED"))
    )


def read(reader: OrderReader[object]) -> object:
    """Its side of the one order; ids that are none, or of no order, have no side."""
    found = reader.read([ORDER, UNKNOWN, "no order's id", "with a \0", ORDER.upper()])
    assert set(found) == {ORDER}
    assert ORDER in reader.order_ids("", 10)
    assert reader.order_ids(ORDER, 10) in ([], ["gone"])
    return found[ORDER]


def test_each_side_says_what_it_counts(sides: Sides) -> None:
    cable = SkuAccount(
        sku="CABLE",
        on_hand=9,
        reserved=2,
        shipped=1,
        received=10,
        corrected=0,
        movements=2,
        open_reserved=2,
        moved_on_hand=9,
        moved_received=10,
        moved_corrected=0,
        moved_shipped=1,
        moved_count=2,
        last_sequence=2,
    )
    assert sides.stock.skus("", 1) == [cable]
    [lamp] = sides.stock.skus("CABLE", 10)
    assert (lamp.sku, lamp.on_hand, lamp.moved_count, lamp.open_reserved) == ("LAMP", 0, 0, 0)
    assert sides.customers.read(["anna", "bert", "\0"]) == {
        "anna": CustomerSide(numbered=1, last_sequence=1)
    }
    assert sides.inboxes["inventory-service"].handled([EVENT, NOTE, "no id"]) == {EVENT}
    assert sides.inboxes["order-processor"].handled([EVENT]) == set()


def test_the_log_has_an_end_that_only_grows(sides: Sides) -> None:
    before = sides.logs["order"].end()
    assert 0 < before <= sides.logs["order"].end()


@pytest.mark.parametrize("table", ["orders", "order_history", "outbox", "inbox", "relay_state"])
def test_the_tables_behind_the_views_stay_closed(urls: dict[str, str], table: str) -> None:
    views = Views(database_settings(urls["order"]))
    with pytest.raises(Unavailable, match="permission denied"):
        views.rows(f"SELECT * FROM {table}", ())
    views.close()


def test_whoever_may_write_can_not_write_here(urls: dict[str, str]) -> None:
    owner = re.sub(r"books_\w+@", "postgres@", urls["order"])
    views = Views(database_settings(owner))
    with pytest.raises(Unavailable, match="read-only"):
        views.rows("DELETE FROM orders RETURNING 1", ())
    views.close()


STATEMENTS = {
    name: text
    for name, text in vars(services).items()
    if name.startswith("_") and isinstance(text, str) and "FROM books_" in text
}
SERVICE_OF = {
    view: name
    for name in FILLED
    for view in re.findall(r"CREATE VIEW (\w+)", (SERVICES / name / "schema.sql").read_text())
    if view != "books_inbox" or name == "inventory"
}


@pytest.mark.parametrize("name", STATEMENTS)
def test_a_statement_is_answered_by_an_index(urls: dict[str, str], name: str) -> None:
    """Whatever else the tables hold, and however much: with a scan of a table it could not be."""
    statement = STATEMENTS[name]
    view = re.findall(r"FROM (books_\w+)", statement)[0]
    explained = "EXPLAIN " + statement.replace("LIMIT %s", "LIMIT 100")
    before = [explained[: at.start()] for at in re.finditer("%s", explained)]
    parameters = ["{}" if words.endswith("ANY(") else UNKNOWN for words in before]
    with postgres.connect(
        database_settings(urls[SERVICE_OF[view]]),
        application_name="test",
        session={**READ_ONLY, **BY_KEY},
    ) as connection:
        plan = "\n".join(
            str(line) for (line,) in connection.execute(explained.encode(), parameters)
        )
    assert "Seq Scan" not in plan, plan
