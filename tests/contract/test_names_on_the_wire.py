"""Names that others know us by. A change here breaks somebody else's program."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

from pydantic import SecretStr

from orderflow.contracts import NAMESPACE
from orderflow.contracts.events import (
    CancelReason,
    PaymentFailureReason,
    PaymentMode,
    StockRejectionReason,
)
from orderflow.contracts.ids import OrderId, notification_id, payment_id, refund_id
from orderflow.contracts.roster import TOPICS
from orderflow.contracts.schemas import CATALOGUE
from orderflow.contracts.topics import DEAD_LETTER_DISPOSITIONS
from orderflow.messaging.dead_letters.dispositions import (
    Disposition,
    DispositionKind,
    disposition_record,
    read_disposition,
)
from orderflow.messaging.dead_letters.letter_place import LetterId
from orderflow.messaging.event import EventId, Metadata, derived_id, to_headers
from orderflow.messaging.relay import RelaySettings
from orderflow.messaging.settings import DatabaseSettings, KafkaSettings

ORDER = OrderId("0198a0b2-1111-7222-8333-444455556666")


def test_the_topics_keep_their_names_keys_and_promises() -> None:
    assert [
        (t.name, t.key, t.retention.days if t.retention else None, t.cleanup, t.partitions)
        for t in TOPICS
    ] == [
        ("orders", "orderId", 7, "delete", None),
        ("order-events", "orderId", 30, "delete", None),
        ("payments", "orderId", 7, "delete", None),
        ("inventory", "orderId", 7, "delete", None),
        ("notifications", "customerId", 7, "delete", None),
        ("revenue-service-by-customer-repartition", "customerId", 7, "delete", None),
        ("revenue-by-customer", "customerId", None, "compact", None),
        ("revenue-service-by-hour-repartition", "<hour>/<currency>", 7, "delete", None),
        ("revenue-by-hour", "<hour>/<currency>", None, "compact", None),
        (
            "revenue-by-customer-facts-changelog",
            "none: 16-byte ids, many in a record",
            None,
            "compact",
            None,
        ),
        ("relay-positions", "none: it holds offsets, no records", 7, "delete", 1),
        ("payments.order-service.dlt", "orderId", 30, "delete", 1),
        ("payments.order-service.replay", "orderId", 7, "delete", 1),
        ("inventory.order-service.dlt", "orderId", 30, "delete", 1),
        ("inventory.order-service.replay", "orderId", 7, "delete", 1),
        ("orders.payment-service.dlt", "orderId", 30, "delete", 1),
        ("orders.payment-service.replay", "orderId", 7, "delete", 1),
        ("payments.inventory-service.dlt", "orderId", 30, "delete", 1),
        ("payments.inventory-service.replay", "orderId", 7, "delete", 1),
        ("orders.inventory-service.dlt", "orderId", 30, "delete", 1),
        ("orders.inventory-service.replay", "orderId", 7, "delete", 1),
        ("orders.notification-service.dlt", "orderId", 30, "delete", 1),
        ("orders.notification-service.replay", "orderId", 7, "delete", 1),
        ("payments.notification-service.dlt", "orderId", 30, "delete", 1),
        ("payments.notification-service.replay", "orderId", 7, "delete", 1),
        ("inventory.notification-service.dlt", "orderId", 30, "delete", 1),
        ("inventory.notification-service.replay", "orderId", 7, "delete", 1),
        ("order-events.notification-service.dlt", "orderId", 30, "delete", 1),
        ("order-events.notification-service.replay", "orderId", 7, "delete", 1),
        ("order-events.order-processor.dlt", "orderId", 30, "delete", 1),
        ("order-events.order-processor.replay", "orderId", 7, "delete", 1),
        ("inventory.order-processor.dlt", "orderId", 30, "delete", 1),
        ("inventory.order-processor.replay", "orderId", 7, "delete", 1),
        ("order-events.analytics-service.dlt", "orderId", 30, "delete", 1),
        ("order-events.analytics-service.replay", "orderId", 7, "delete", 1),
        ("payments.revenue-service.dlt", "orderId", 30, "delete", 1),
        ("payments.revenue-service.replay", "orderId", 7, "delete", 1),
        *(
            (f"revenue-service-{by}-repartition.revenue-service.{kind}", key, days, "delete", 1)
            for by, key in (("by-customer", "customerId"), ("by-hour", "<hour>/<currency>"))
            for kind, days in (("dlt", 30), ("replay", 7))
        ),
        ("payments.lake-exporter.dlt", "orderId", 30, "delete", 1),
        ("payments.lake-exporter.replay", "orderId", 7, "delete", 1),
        ("payments.payments-warehouse.dlt", "orderId", 30, "delete", 1),
        ("payments.payments-warehouse.replay", "orderId", 7, "delete", 1),
        (
            "dead-letter-dispositions",
            "<dead-letter topic>/<partition>/<offset>",
            None,
            "compact",
            1,
        ),
    ]


def test_the_subjects_are_topic_and_full_name() -> None:
    assert [subject for subject, _ in CATALOGUE.subjects()] == [
        "orders-orderflow.OrderCreated",
        "orders-orderflow.PaymentRequested",
        "orders-orderflow.OrderCancelled",
        "orders-orderflow.OrderShipped",
        "order-events-orderflow.OrderEvent",
        "payments-orderflow.PaymentSucceeded",
        "payments-orderflow.PaymentFailed",
        "payments-orderflow.PaymentRefunded",
        "inventory-orderflow.StockReserved",
        "inventory-orderflow.StockRejected",
        "inventory-orderflow.StockReleased",
        "notifications-orderflow.NotificationSent",
        "notifications-orderflow.NotificationFailed",
        "revenue-service-by-customer-repartition-orderflow.CustomerRevenueChange",
        "revenue-by-customer-orderflow.RevenueByCustomer",
        "revenue-service-by-hour-repartition-orderflow.HourRevenueChange",
        "revenue-by-hour-orderflow.RevenueByHour",
    ]


def test_the_codes_keep_their_texts() -> None:
    """They are strings on the wire: no schema would notice a change."""
    assert [*PaymentMode] == ["AUTOMATIC", "ON_REQUEST"]
    assert [*CancelReason] == [
        "CUSTOMER",
        "OUT_OF_STOCK",
        "PAYMENT_DEADLINE",
        "STOCK_DEADLINE",
        "OPERATOR",
    ]
    assert [*PaymentFailureReason] == ["DECLINED", "ORDER_CANCELLED", "OPERATOR"]
    assert [*StockRejectionReason] == ["OUT_OF_STOCK", "UNKNOWN_SKU"]


def test_a_disposition_keeps_its_form() -> None:
    """It stays on its compacted topic for ever: what was written once must stay readable."""
    replayed = Disposition(
        kind=DispositionKind.REPLAYED,
        by="ada",
        reason="the catalogue is mended",
        at=datetime(2026, 1, 31, 9, 5, 0, 123_000, tzinfo=UTC),
        replays=1,
        replayed_to="orders.payment-service.replay",
    )
    golden = (Path(__file__).parent / "golden/disposition.json").read_bytes().rstrip(b"\n")
    topic, key, value, headers = disposition_record(
        DEAD_LETTER_DISPOSITIONS.name, LetterId("orders.payment-service.dlt", 0, 12), replayed
    )
    assert (topic, key) == ("dead-letter-dispositions", b"orders.payment-service.dlt/0/12")
    assert (value, headers) == (golden, [])
    assert read_disposition(golden) == replayed
    assert [*DispositionKind] == ["REPLAYED", "DISCARDED", "OTHER"]


def test_the_headers_keep_their_names_order_and_form() -> None:
    metadata = Metadata(
        id=EventId(UUID("0198a0b2-0000-7000-8000-000000000001")),
        type="orderflow.OrderCreated",
        source="/orderflow/order",
        time=datetime(2026, 1, 31, 9, 5, 0, 123_456, tzinfo=UTC),
        subject=ORDER,
        correlation_id=ORDER,
        causation_id="0198a0b2-0000-7000-8000-000000000000",
        traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        tracestate="vendor=1",
    )
    assert to_headers(metadata) == [
        ("ce_specversion", b"1.0"),
        ("ce_id", b"0198a0b2-0000-7000-8000-000000000001"),
        ("ce_type", b"orderflow.OrderCreated"),
        ("ce_source", b"/orderflow/order"),
        ("ce_time", b"2026-01-31T09:05:00.123Z"),
        ("ce_subject", b"0198a0b2-1111-7222-8333-444455556666"),
        ("ce_causationid", b"0198a0b2-0000-7000-8000-000000000000"),
        ("ce_correlationid", b"0198a0b2-1111-7222-8333-444455556666"),
        ("content-type", b"application/avro"),
        ("traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        ("tracestate", b"vendor=1"),
    ]


def test_the_relay_keeps_its_group_transactional_id_and_slot() -> None:
    """Under other names it would not find its position, and would not fence its predecessor."""
    relay = RelaySettings(
        service="order",
        database=DatabaseSettings(dsn=SecretStr("postgresql://")),
        kafka=KafkaSettings(),
    )
    assert (relay.group, relay.transactional_id, relay.slot) == (
        "relay.order",
        "order.relay.0",
        "relay_order",
    )


def test_derived_ids_never_move() -> None:
    assert str(NAMESPACE) == "c058a1fc-e2bb-5efa-aa86-6a7c65348410"
    assert payment_id(ORDER, 1) == "0198a0b2-1111-8a2d-aab1-f18974532d01"
    assert refund_id(payment_id(ORDER, 1)) == "0198a0b2-1111-8f39-b340-6ec8188a9d65"
    cause = EventId(UUID("0198a0b2-0000-7000-8000-000000000001"))
    assert notification_id(cause, "ORDER_CREATED") == "0198a0b2-0000-882d-b098-b07b537bdc99"
    derived = derived_id(NAMESPACE, cause=cause, event_type="orderflow.OrderEvent", index=0)
    assert str(derived) == "0198a0b2-0000-814c-804b-cc43929dda3c"
