"""What the evidence about an order makes of its story: who caused what, and what is not known."""

from __future__ import annotations

from datetime import timedelta

import msgspec
from tests.unit.cli.trace.evidence_of_orders import (
    CREATED,
    EVENT_CREATED,
    NOON,
    ORDER,
    PLACED,
    SUCCEEDED,
    after,
    entry,
    everybody_handled,
    line,
    order,
    recorded,
    said,
    seen,
)

from orderflow.cli.trace.evidence import DeadLetter, Evidence, Missing, Seen
from orderflow.cli.trace.story import Node, Story, tell
from orderflow.messaging.kafka.finished_offsets import Window

NOW = NOON + timedelta(minutes=1)
UNNAMED = {**PLACED, "eventId": None}
PAYMENT = {
    "paymentId": "p1",
    "attempt": 1,
    "state": "SUCCEEDED",
    "amountMinor": 1_250,
    "currency": "EUR",
    "reason": None,
    "createdAt": said(60),
    "unknownSince": None,
    "settledAt": said(100),
    "refund": None,
}


def story(records: list[Seen], **evidence: object) -> Story:
    given = {"lines": everybody_handled(records), "history": [UNNAMED], **evidence}
    return tell(
        Evidence(order_id=ORDER, order=order("PAID"), records=records, **given),  # type: ignore[arg-type]
        now=NOW,
    )


def path(told: Story, **wanted: object) -> list[Node]:
    """The first node with these fields, and what it hangs below, from the root on."""

    def search(nodes: list[Node], above: list[Node]) -> list[Node] | None:
        for node in nodes:
            here = [*above, node]
            if all(getattr(node, name) == value for name, value in wanted.items()):
                return here
            if below := search(node.children, here):
                return below
        return None

    return search(told.story, []) or []


def names(nodes: list[Node]) -> list[str]:
    return [node.group or node.what if node.kind == "handling" else node.what for node in nodes]


def test_a_record_hangs_below_the_handling_that_published_it_and_that_below_its_record() -> None:
    told = story([CREATED, EVENT_CREATED, SUCCEEDED])
    assert names(path(told, event_id="paid", kind="record")) == [
        "Order has been created",
        "OrderCreated",
        "payment-service",
        "PaymentSucceeded",
    ]
    assert (told.complete, told.missing, told.trace_id) == (True, [], "a" * 32)


def test_a_command_is_the_root_of_what_it_published_though_only_one_event_is_named() -> None:
    asked_again = entry(200, "Payment was asked for, attempt 2", "CREATED", 1, ("command", "pay"))
    requested = seen("asked-2", "PaymentRequested", "orders", 2, 200, paymentId="p2", attempt=2)
    told = story([CREATED, EVENT_CREATED, requested], history=[PLACED, asked_again])
    assert names(told.story) == ["Order has been created", "Payment was asked for, attempt 2"]
    assert names(told.story[0].children) == ["OrderEvent", "OrderCreated"]
    assert names(told.story[1].children) == ["PaymentRequested"]


def test_durations_are_from_effect_to_record_and_from_record_to_handling() -> None:
    told = story([CREATED])
    assert path(told, event_id="created", kind="record")[-1].took_ms == 10
    assert path(told, group="payment-service")[-1].took_ms == 50


def test_a_sum_with_the_time_of_what_it_sums_up_was_published_after_its_cause() -> None:
    topic = "revenue-service-by-customer-repartition"
    change = seen("c", "CustomerRevenueChange", topic, 0, 100, cause="paid", source="revenue")
    late = msgspec.structs.replace(change, at=SUCCEEDED.at + timedelta(milliseconds=25))
    told = story([CREATED, SUCCEEDED, late])
    assert path(told, event_id="c", kind="record")[-1].took_ms == 25


def test_a_payment_and_its_refund_hang_below_who_was_asked_for_them() -> None:
    cancelled = seen("gone", "OrderCancelled", "orders", 2, 300, reason="CUSTOMER")
    refund = {
        "refundId": "r1",
        "state": "SUCCEEDED",
        "amountMinor": 1_250,
        "reason": "CUSTOMER",
        "createdAt": said(350),
        "settledAt": said(380),
    }
    told = story(
        [CREATED, SUCCEEDED, cancelled], payments={"payments": [{**PAYMENT, "refund": refund}]}
    )
    assert names(path(told, kind="payment"))[-3:] == [
        "OrderCreated",
        "payment-service",
        "payment attempt 1",
    ]
    assert names(path(told, kind="refund"))[-3:] == ["OrderCancelled", "payment-service", "refund"]
    assert [path(told, kind=kind)[-1].took_ms for kind in ("payment", "refund")] == [40, 30]


def test_a_declined_payment_says_why_and_nothing_of_the_providers_text() -> None:
    declined = {**PAYMENT, "state": "FAILED", "reason": "DECLINED", "message": "card of Ada L."}
    failed = seen("no", "PaymentFailed", "payments", 0, 100, cause="created", reason="DECLINED")
    told = story([CREATED, failed], payments={"payments": [declined]})
    node = path(told, kind="payment")[-1]
    assert (node.outcome, node.reason) == ("FAILED", "DECLINED")
    assert b"Ada" not in msgspec.json.encode(told)


def test_an_unknown_outcome_is_shown_since_when_and_resolves_later() -> None:
    unknown = {**PAYMENT, "state": "UNKNOWN", "unknownSince": said(90), "settledAt": None}
    waits = story([CREATED], payments={"payments": [unknown]})
    assert (path(waits, kind="payment")[-1].outcome, path(waits, kind="payment")[-1].at) == (
        "UNKNOWN",
        after(90),
    )
    late = {**PAYMENT, "settledAt": said(5_060)}
    retried = [line(CREATED, "payment-service", 5_200, attempts=None, waited_ms=5_000)]
    resolved = story([CREATED], payments={"payments": [late]}, lines=retried)
    assert path(resolved, kind="payment")[-1].took_ms == 5_000
    assert path(resolved, kind="handling", group="payment-service")[-1].waited_ms == 5_000


def test_a_retried_handler_shows_its_attempts_and_its_wait() -> None:
    lines = [line(CREATED, "payment-service", 2_010, attempts=2, waited_ms=1_900)]
    node = path(story([CREATED], lines=lines), group="payment-service")[-1]
    assert (node.outcome, node.attempts, node.waited_ms, node.took_ms) == (
        "handled",
        2,
        1_900,
        2_000,
    )


def test_a_repeat_after_a_crash_stands_beside_the_handling_that_counted() -> None:
    lines = [
        line(SUCCEEDED, "inventory-service", 150),
        line(SUCCEEDED, "inventory-service", 900, "repeat"),
    ]
    reserved = seen("kept", "StockReserved", "inventory", 0, 140, cause="paid")
    told = story([CREATED, SUCCEEDED, reserved], lines=lines)
    record = path(told, kind="record", event_id="paid")[-1]
    handlings = [node for node in record.children if node.group == "inventory-service"]
    assert [(node.outcome, len(node.children)) for node in handlings] == [
        ("handled", 1),
        ("repeat", 0),
    ]


def dead(
    record: Seen, offset: int, ms: int, *, given_up: Seen | None = None, replays: int = 0
) -> Seen:
    letter = DeadLetter(
        group="inventory-service",
        given_up=(given_up or record).position,
        error="HandlerError",
        attempts=3,
        first_failure=after(ms - 2_000),
        last_failure=after(ms),
    )
    topic = f"{record.topic}.inventory-service.dlt"
    return msgspec.structs.replace(
        record, topic=topic, offset=offset, at=after(ms), letter=letter, replays=replays
    )


def sent_back(record: Seen, offset: int, ms: int, replays: int) -> Seen:
    topic = f"{record.topic}.inventory-service.replay"
    return msgspec.structs.replace(
        record, topic=topic, offset=offset, at=after(ms), replays=replays
    )


def test_a_dead_letter_hangs_below_the_handling_that_gave_the_record_up() -> None:
    lines = [line(SUCCEEDED, "inventory-service", 2_200, "dead letter", attempts=3)]
    told = story([CREATED, SUCCEEDED, dead(SUCCEEDED, 7, 2_190)], lines=lines)
    above = path(told, kind="dead letter")
    assert [node.kind for node in above[-3:]] == ["record", "handling", "dead letter"]
    letter = above[-1]
    assert (above[-2].outcome, letter.group, letter.what, letter.attempts, letter.waited_ms) == (
        "dead letter",
        "inventory-service",
        "HandlerError",
        3,
        2_000,
    )
    assert letter.place == "payments.inventory-service.dlt-0@7"


def test_without_its_line_the_dead_letter_itself_says_that_the_record_was_given_up() -> None:
    told = story([CREATED, SUCCEEDED, dead(SUCCEEDED, 7, 2_190)], lines=[])
    assert path(told, kind="dead letter")[-2].outcome == "dead letter"


def test_a_replay_hangs_below_its_dead_letter_and_what_came_of_it_below_the_replay() -> None:
    again = sent_back(SUCCEEDED, 0, 60_000, 1)
    reserved = seen("kept", "StockReserved", "inventory", 0, 60_040, cause="paid")
    lines = [
        line(SUCCEEDED, "inventory-service", 2_200, "dead letter", attempts=3),
        line(again, "inventory-service", 60_050),
    ]
    told = story([CREATED, SUCCEEDED, dead(SUCCEEDED, 7, 2_190), again, reserved], lines=lines)
    above = path(told, event_id="kept", kind="record")
    assert [node.kind for node in above[-5:]] == [
        "handling",
        "dead letter",
        "replay",
        "handling",
        "record",
    ]
    assert (above[-3].attempts, above[-3].group) == (1, "inventory-service")


def test_a_replay_that_fails_again_leads_to_the_next_dead_letter() -> None:
    first = sent_back(SUCCEEDED, 0, 60_000, 1)
    second = sent_back(SUCCEEDED, 1, 90_000, 2)
    letters = [
        dead(SUCCEEDED, 7, 2_190),
        dead(SUCCEEDED, 8, 62_000, given_up=first, replays=1),
    ]
    told = story([CREATED, SUCCEEDED, *letters, first, second], lines=[])
    above = path(told, kind="replay", offset=1)
    assert [node.kind for node in above[-6:]] == [
        "handling",
        "dead letter",
        "replay",
        "handling",
        "dead letter",
        "replay",
    ]
    assert above[-1].attempts == 2


def test_a_mail_hangs_below_the_notification_of_its_cause_and_its_record_below_the_mail() -> None:
    mail = {
        "notificationId": "n1",
        "causeId": "created",
        "kind": "ORDER_CREATED",
        "state": "SENT",
        "attempts": 1,
        "sequence": 4,
        "reason": None,
        "subject": "Your order",
        "createdAt": said(40),
        "occurredAt": said(90),
    }
    sent = seen(
        "sent", "NotificationSent", "notifications", 0, 90, cause="created", notificationId="n1"
    )
    told = story([CREATED, sent], mails=[mail])
    above = path(told, event_id="sent", kind="record")
    assert names(above)[-4:] == [
        "OrderCreated",
        "notification-service",
        "ORDER_CREATED",
        "NotificationSent",
    ]
    assert (above[-2].outcome, above[-2].took_ms) == ("SENT", 50)


def test_a_failed_mail_says_nothing_of_what_the_mail_server_answered() -> None:
    reason = "550 <ada@example.org> unknown"
    mail = {"notificationId": "n1", "causeId": "created", "state": "FAILED", "reason": reason}
    told = story([CREATED], mails=[{**mail, "kind": "ORDER_CREATED", "createdAt": said(40)}])
    assert path(told, kind="mail")[-1].outcome == "FAILED"
    assert b"example.org" not in msgspec.json.encode(told)


def test_a_deadline_and_an_operators_act_are_roots_with_who_and_why() -> None:
    deadline = entry(900, "Cancelled", "CANCELLED", 2, ("deadline", "PAYMENT_DEADLINE"), "event-2")
    act = entry(
        950,
        "An operator asked again",
        "CANCELLED",
        2,
        ("operator", "retry"),
        actor="kim",
        reason="ticket 4711",
    )
    cancelled = seen("event-2", "OrderEvent", "order-events", 3, 900, status="CANCELLED", version=2)
    told = story([CREATED, cancelled], history=[PLACED, deadline, act])
    assert [(node.type, node.caused_by) for node in told.story] == [
        ("command", "place"),
        ("deadline", "PAYMENT_DEADLINE"),
        ("operator", "retry"),
    ]
    assert (told.story[2].actor, told.story[2].reason) == ("kim", "ticket 4711")
    assert names(told.story[1].children) == ["OrderEvent"]


def test_a_missing_line_makes_the_story_incomplete_and_nothing_is_made_up() -> None:
    without = everybody_handled([CREATED], but=[("created", "inventory-service")])
    told = story([CREATED], lines=without)
    node = path(told, group="inventory-service")[-1]
    assert (node.outcome, node.at, node.took_ms, told.complete) == ("unknown", None, None, False)
    assert [entry.source for entry in told.missing] == ["lines of inventory-service"]
    assert "orders-0@0" in told.missing[0].why
    assert not told.missing[0].unasked


def test_without_a_line_what_a_handling_published_says_that_it_was() -> None:
    told = story([CREATED, SUCCEEDED], lines=[])
    node = path(told, kind="handling", event_id="created", group="payment-service")[-1]
    assert (node.outcome, node.at) == ("handled", None)


def test_without_a_line_the_groups_offsets_say_whether_it_is_finished_or_yet_to_come() -> None:
    progress = {
        ("payment-service", "orders", 0): Window(1),
        ("inventory-service", "orders", 0): Window(0),
    }
    told = story([CREATED], lines=[], progress=progress)
    outcomes = {
        group: path(told, group=group)[-1].outcome
        for group in ("payment-service", "inventory-service", "notification-service")
    }
    assert outcomes == {
        "payment-service": "finished",
        "inventory-service": "pending",
        "notification-service": "unknown",
    }
    # What is yet to come is not missing.
    assert {entry.source for entry in told.missing} == {
        "lines of payment-service",
        "lines of notification-service",
    }


def test_a_record_that_waits_in_place_is_pending_though_later_ones_are_finished() -> None:
    told = story([CREATED], lines=[], progress={("payment-service", "orders", 0): Window(9, (0,))})
    assert path(told, group="payment-service")[-1].outcome == "pending"


def test_who_handles_in_bulk_owes_no_line_about_what_it_has_no_use_for() -> None:
    failed = seen("no", "PaymentFailed", "payments", 0, 100, cause="created")
    lines = everybody_handled([CREATED, failed], but=[("no", "revenue-service")])
    progress = {("revenue-service", "payments", 0): Window(5)}
    assert story([CREATED, failed], lines=lines, progress=progress).complete
    assert not story([CREATED, failed], lines=lines).complete


def test_what_could_not_be_asked_makes_the_story_incomplete() -> None:
    away = Missing(source="payment", why="its API did not answer", unasked=True)
    told = story([CREATED], missing=[away])
    assert (told.complete, told.missing) == (False, [away])


def test_an_event_of_the_history_that_no_topic_has_is_named() -> None:
    told = story([CREATED], history=[PLACED])
    assert [(entry.source, "CREATED" in entry.why) for entry in told.missing] == [
        ("order-events", True)
    ]


def test_without_the_order_service_the_records_tell_what_they_can() -> None:
    told = tell(Evidence(order_id=ORDER, records=[CREATED, SUCCEEDED], has_lines=False), now=NOW)
    assert names(told.story) == ["OrderCreated"]
    assert (told.order, told.waiting, told.customer_id) == (None, None, "customer-123")


def test_a_record_whose_cause_is_gone_is_a_root() -> None:
    told = story([SUCCEEDED], history=[])
    assert names(told.story) == ["PaymentSucceeded"]


def test_records_that_cause_each_other_in_a_circle_are_all_shown_once() -> None:
    circle = [
        seen("a", "OrderCreated", "orders", 0, 0, cause="c"),
        seen("b", "PaymentSucceeded", "payments", 0, 1, cause="a"),
        seen("c", "OrderCancelled", "orders", 1, 2, cause="b"),
        seen("d", "OrderShipped", "orders", 2, 3, cause="d"),
    ]
    told = story(circle, history=[])
    shown = [str(node.event_id) for node in told.nodes() if node.kind == "record"]
    assert sorted(shown) == ["a", "b", "c", "d"]


def test_a_copy_of_an_event_says_that_it_is_one() -> None:
    copy = msgspec.structs.replace(CREATED, offset=5, at=after(9_000))
    told = story([CREATED, copy])
    records = [
        node for node in told.nodes() if node.event_id == "created" and node.kind == "record"
    ]
    assert [node.outcome for node in records] == [None, "again"]


def test_a_record_that_is_none_of_ours_is_shown_and_breaks_nothing() -> None:
    foreign = Seen(topic="orders", partition=0, offset=3, at=after(500))
    told = story([CREATED, EVENT_CREATED, foreign])
    node = path(told, offset=3, kind="record")[-1]
    assert (node.outcome, node.what) == ("unreadable", "a record without a readable type")


def test_an_order_out_of_stock_as_it_was_recorded() -> None:
    evidence = recorded("out_of_stock")
    told = tell(evidence, now=NOW)
    assert (told.complete, len(told.story), told.customer_id) == (True, 1, "linus")
    assert names(path(told, type="orderflow.PaymentRefunded", kind="record")) == [
        "Order has been created",
        "OrderCreated",
        "payment-service",
        "PaymentSucceeded",
        "inventory-service",
        "StockRejected",
        "order-service",
        "OrderCancelled",
        "payment-service",
        "PaymentRefunded",
    ]
    shown = [node for node in told.nodes() if node.kind == "record"]
    assert sorted(node.place for node in shown) == sorted(
        f"{seen.topic}-{seen.partition}@{seen.offset}" for seen in evidence.records
    )
    assert [node.what for node in told.nodes() if node.kind == "mail"] == [
        "ORDER_CREATED",
        "PAYMENT_SUCCEEDED",
        "STOCK_REJECTED",
        "ORDER_CANCELLED",
        "PAYMENT_REFUNDED",
    ]
    below_revenue = path(told, type="orderflow.RevenueByHour", kind="record")
    assert [node.group for node in below_revenue if node.kind == "handling"][-3:] == [
        "revenue-service"
    ] * 3


def test_an_order_that_was_shipped_and_delivered_as_it_was_recorded() -> None:
    told = tell(recorded("delivered"), now=NOW)
    assert [node.caused_by for node in told.story] == ["place", "pay", "ship", "deliver"]
    steps = [node.outcome for node in told.nodes() if node.kind == "shipment"]
    assert steps == ["PREPARED", "TRACKED", "CLOSED"]
    assert len(told.trace_ids) == 4


def test_the_story_of_each_line_that_was_recorded_has_a_handling() -> None:
    evidence = recorded("out_of_stock")
    told = tell(evidence, now=NOW)
    handlings = [
        (node.topic, node.partition, node.offset, node.group, node.outcome)
        for node in told.nodes()
        if node.kind == "handling" and node.at is not None
    ]
    assert sorted(handlings) == sorted(
        (*line.position, line.group, line.outcome) for line in evidence.lines
    )
