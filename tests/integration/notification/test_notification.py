"""
Notification: each customer is told each thing once, and in order, whoever is killed, stopped or
away.

On a stack of its own: three partitions, a listener and a relay for all; senders as each test needs
them.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from random import Random
from uuid import uuid4

import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.support.builders import an_order_on_request, paid
from tests.support.kafka_tools import orderflow
from tests.support.notification_service import (
    GROUP,
    NotificationService,
    notification_deployed,
    shipped_status,
)
from tests.support.service import Process
from tests.support.stack import OwnStack

from orderflow.contracts import NAMESPACE
from orderflow.contracts.events import Event, NotificationFailed, NotificationSent, OrderCreated
from orderflow.contracts.topics import NOTIFICATIONS, ORDER_EVENTS, ORDERS, PAYMENTS
from orderflow.messaging.event import EventId, derived_id, from_headers
from orderflow.messaging.kafka.group_topics import replay_topic
from orderflow.messaging.testing.eventually import eventually

KILLS = [1, pytest.param(10, marks=pytest.mark.long), pytest.param(100, marks=pytest.mark.soak)]
BEFORE_SEND, AFTER_DATA = "notification.before_send", "notification.after_data"
BEFORE_OUTCOME, BEFORE_COMMIT = "notification.before_outcome", "notification.before_commit"
LEASE_S = "ORDERFLOW_NOTIFICATION__SENDER__LEASE_S"
BACK_OFF_S_MAX = "ORDERFLOW_NOTIFICATION__SENDER__BACK_OFF_S_MAX"
GIVE_UP_S = "ORDERFLOW_NOTIFICATION__SENDER__GIVE_UP_S"


@pytest.fixture(scope="module")
def deployed(
    own_stack: OwnStack, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[NotificationService]:
    for step in ("topics", "schemas"):
        assert orderflow(own_stack, step, "apply").returncode == 0
    with notification_deployed(own_stack, tmp_path_factory.mktemp("notification")) as service:
        shared = [service.start("relay"), service.start("listener")]
        yield service
        for process in shared:
            assert process.terminate() == 0, process.log.read_text()


@pytest.fixture
def notification(deployed: NotificationService) -> Iterator[NotificationService]:
    deployed.facts.clear()
    deployed.environment = {BACK_OFF_S_MAX: "0.3"}
    yield deployed
    deployed.mail.faults()


@pytest.fixture
def sender(notification: NotificationService) -> Iterator[Process]:
    process = notification.start("sender")
    yield process
    assert process.terminate() == 0, process.log.read_text()


def customers(count: int) -> list[str]:
    prefix = uuid4().hex[:6]
    return [f"customer-{prefix}-{number}" for number in range(count)]


def address(customer: str) -> str:
    return f"{customer}@customers.localhost"


def metric(process: Process, name: str) -> float:
    families = text_string_to_metric_families(process.client.get("/metrics").text)
    return sum(
        sample.value for family in families for sample in family.samples if sample.name == name
    )


def test_customers_are_told_what_becomes_of_their_orders_in_order(
    notification: NotificationService, sender: Process
) -> None:
    notification.place(customers(20), orders=3)
    notification.assert_each_notified_once_in_order()
    assert notification.repeats() == 0


def test_an_order_is_told_in_its_order_however_far_its_topics_are_apart(
    notification: NotificationService, sender: Process
) -> None:
    """The topics are heard backwards: each when what came before is known to be held."""
    orders = [an_order_on_request(customer=customer) for customer in customers(20)]
    backwards: tuple[tuple[str, Callable[[OrderCreated], Event], str], ...] = (
        (ORDER_EVENTS.name, shipped_status, "ORDER_SHIPPED"),
        (PAYMENTS.name, paid, "PAYMENT_SUCCEEDED"),
        (ORDERS.name, lambda order: order, "ORDER_CREATED"),
    )
    for topic, event_of, kind in backwards:
        heard = len(notification.facts)
        notification.eventually_held(heard)
        for order in orders:
            notification.send(topic, event_of(order), kind)
        notification.service.flush()
    notification.assert_each_notified_once_in_order()
    notification.eventually_held(0)


def test_what_can_not_come_any_more_holds_no_customer_for_ever(
    notification: NotificationService,
) -> None:
    """The payment's record is lost: the shipment is told once everything there is was heard."""
    releasing = notification.start("sender", ORDERFLOW_NOTIFICATION__HOLD__LEAST_S="0.2")
    [customer] = customers(1)
    order = an_order_on_request(customer=customer)
    notification.send(ORDER_EVENTS.name, shipped_status(order), "ORDER_SHIPPED")
    notification.send(ORDERS.name, order, "ORDER_CREATED")
    notification.service.flush()
    events = notification.eventually_notified()[customer]
    assert [event.kind for event in events] == ["ORDER_CREATED", "ORDER_SHIPPED"]

    late = notification.send(PAYMENTS.name, paid(order), "PAYMENT_SUCCEEDED")
    notification.service.flush()
    state = f"SELECT state, sequence FROM delivery WHERE cause_id = '{late.id}'"
    eventually(
        lambda: notification.service.rows(state) == [("OVERTAKEN", None)],
        within_s=30,
        why="it is not told any more",
    )
    assert releasing.terminate() == 0, releasing.log.read_text()


def test_what_is_told_of_a_message_names_its_cause_and_its_order(
    notification: NotificationService, sender: Process
) -> None:
    notification.place(customers(1))
    notification.eventually_notified()
    records = [
        record
        for record in notification.service.records(NOTIFICATIONS.name)
        if (record.key or b"").decode() in notification.customers
    ]
    # Two topics: which of their facts is noted first is nobody's promise.
    by_cause = {from_headers(record.headers).causation_id: record for record in records}
    assert len(by_cause) == len(records) == len(notification.facts)
    for fact in notification.facts:
        record = by_cause[str(fact.id)]
        event, metadata = (
            notification.decoder.decode_as(record.value, NotificationSent),
            from_headers(record.headers),
        )
        assert (event.cause_id, event.cause_type, event.kind) == (
            str(fact.id),
            fact.event.type_name(),
            fact.kind,
        )
        assert (metadata.causation_id, metadata.correlation_id) == (
            str(fact.id),
            fact.event.order_id,
        )
        assert (metadata.source, metadata.subject) == ("/orderflow/notification", event.order_id)
        assert metadata.id == derived_id(
            NAMESPACE, cause=EventId(fact.id), event_type=NotificationSent.type_name(), index=0
        )
        assert metadata.time == event.occurred_at
        [row] = notification.service.rows(
            f"SELECT occurred_at, sequence FROM delivery WHERE cause_id = '{fact.id}'"
        )
        assert row == (event.occurred_at, event.sequence)


@pytest.mark.parametrize("kills", KILLS)
@pytest.mark.parametrize("point", [BEFORE_SEND, AFTER_DATA, BEFORE_OUTCOME, BEFORE_COMMIT])
def test_a_sender_killed_at_any_line_loses_no_message_and_repeats_none(
    notification: NotificationService, point: str, kills: int
) -> None:
    chance = Random(kills)
    for _ in range(kills):
        notification.place(customers(6))
        # All outcomes may be recorded at once, so only the first recording is certain to come.
        passes = chance.randint(1, 8) if point in (BEFORE_SEND, AFTER_DATA) else 1
        notification.start(
            "sender", wait=False, ORDERFLOW_FAILPOINTS=f"{point}=kill@{passes}"
        ).assert_killed()
    last = notification.start("sender")
    notification.assert_each_notified_once_in_order()
    # What the sink had accepted when its sender died was offered again, and dropped.
    assert notification.repeats() >= (kills if point != BEFORE_SEND else 0)
    assert last.terminate() == 0, last.log.read_text()


@pytest.mark.parametrize(
    "point", [AFTER_DATA, BEFORE_OUTCOME, pytest.param(BEFORE_COMMIT, marks=pytest.mark.long)]
)
def test_a_sender_stopped_beyond_its_lease_breaks_neither_order_nor_numbers(
    notification: NotificationService, point: str
) -> None:
    notification.environment[LEASE_S] = "1"
    notified = customers(4)
    notification.place(notified)
    stopped = notification.start("sender", wait=False, ORDERFLOW_FAILPOINTS=f"{point}=stop@1")
    eventually(
        lambda: _is_stopped(stopped), within_s=60, why="it came to the line at which it is stopped"
    )
    other = notification.start("sender", slot=1)
    notification.place(notified, orders=2)
    notification.eventually_notified()
    stopped.popen.send_signal(signal.SIGCONT)
    notification.place(notified)
    eventually(stopped.ready, within_s=30, why="it goes on")
    notification.assert_each_notified_once_in_order()
    assert notification.repeats() >= 1
    assert other.terminate() == 0, other.log.read_text()
    notification.place(notified)
    notification.assert_each_notified_once_in_order()
    assert stopped.terminate() == 0, stopped.log.read_text()


def test_two_senders_and_a_faulty_mail_server_notify_each_once_and_in_order(
    notification: NotificationService, sender: Process
) -> None:
    notification.mail.faults(temporary=0.2, replyLost=0.2)
    other = notification.start("sender", slot=1)
    notification.place(customers(20), orders=2)
    notification.assert_each_notified_once_in_order()
    assert notification.repeats() >= 1
    assert other.terminate() == 0, other.log.read_text()


def test_a_customer_who_is_refused_for_now_waits_alone_and_is_told_in_order_later(
    notification: NotificationService, sender: Process
) -> None:
    held, *others = customers(4)
    notification.mail.faults(temporaryFor=[address(held)])
    notification.place([held, *others], orders=2)
    notifications = notification.eventually_notified(len(others) * 6)
    assert {customer: len(events) for customer, events in notifications.items()} == dict.fromkeys(
        others, 6
    )
    query = f"""SELECT state, attempts > 1, reason FROM delivery
        WHERE customer_id = '{held}' ORDER BY position"""
    waiting = ("PENDING", False, None)
    first = ("PENDING", True, "451 4.3.0 not now: try again later")
    eventually(
        lambda: notification.service.rows(query) == [first, *[waiting] * 5],
        within_s=30,
        why="the first is tried",
    )
    eventually(
        lambda: metric(sender, "orderflow_notification_customers_waiting") == 1,
        within_s=30,
        why="it is shown",
    )
    assert sender.ready(), "one customer's mailbox is not the service's trouble"
    notification.mail.faults()
    notification.assert_each_notified_once_in_order()


def test_a_message_that_is_refused_for_now_for_too_long_is_given_up_and_the_next_goes_on(
    notification: NotificationService,
) -> None:
    notification.environment = {GIVE_UP_S: "1", BACK_OFF_S_MAX: "0.1"}
    impatient = notification.start("sender")
    [customer] = customers(1)
    notification.mail.faults(temporaryFor=[address(customer)])
    order = an_order_on_request(customer=customer)
    notification.send(ORDERS.name, order, "ORDER_CREATED")
    notification.service.flush()
    [failed] = notification.eventually_notified()[customer]
    assert isinstance(failed, NotificationFailed)
    assert failed.sequence == 1
    assert failed.attempts >= 10
    assert failed.reason.startswith(f"EXPIRED after {failed.attempts} attempts in ")
    assert failed.reason.endswith("s: 451 4.3.0 not now: try again later")

    notification.mail.faults()
    notification.send(PAYMENTS.name, paid(order), "PAYMENT_SUCCEEDED")
    notification.service.flush()
    _, following = notification.eventually_notified()[customer]
    assert isinstance(following, NotificationSent)
    assert following.sequence == 2
    assert impatient.terminate() == 0, impatient.log.read_text()


def test_a_mail_server_that_is_away_is_waited_for_and_is_nobodys_attempt(
    notification: NotificationService, sender: Process
) -> None:
    notification.mail.kill()
    notification.place(customers(3))
    eventually(
        lambda: any("mail" in reason for reason in sender.reasons),
        within_s=30,
        why="it says what is away",
    )
    assert metric(sender, "orderflow_listener_gate_closed") == 1
    notification.mail.start()
    notification.assert_each_notified_once_in_order()
    assert sender.ready()
    ids = ", ".join(f"'{fact.id}'" for fact in notification.facts)
    assert notification.service.rows(
        f"SELECT DISTINCT attempts FROM delivery WHERE cause_id IN ({ids})"
    ) == [(1,)]


def test_a_refusal_for_good_is_told_with_its_reason_and_takes_its_number(
    notification: NotificationService, sender: Process
) -> None:
    [customer] = customers(1)
    notification.mail.faults(permanentFor=[address(customer)])
    notification.place([customer])
    notification.eventually_notified()
    notification.mail.faults()
    notification.place([customer])
    events = notification.eventually_notified()[customer]
    assert [event.sequence for event in events] == [1, 2, 3, 4, 5, 6]
    assert [type(event) for event in events] == [NotificationFailed] * 3 + [NotificationSent] * 3
    failed = events[0]
    assert isinstance(failed, NotificationFailed)
    assert (failed.reason, failed.attempts) == ("550 5.1.1 no such mailbox", 1)
    assert len(notification.mails()) == 3
    assert {str(fact.id) for fact in notification.facts} == {event.cause_id for event in events}


def test_the_same_facts_again_tell_nobody_anything(
    notification: NotificationService, sender: Process
) -> None:
    notification.place(customers(5))
    notification.assert_each_notified_once_in_order()
    before = (
        notification.mail.totals(),
        len(notification.service.records(NOTIFICATIONS.name)),
        _deliveries(notification),
    )
    with notification.service.connection() as connection:
        connection.execute("DELETE FROM inbox")  # As it will have forgotten them one day.
    for fact in notification.facts:
        notification.service.send(fact.topic, fact.event, event_id=fact.id)
        notification.service.send(fact.topic, fact.event, event_id=fact.id)
    [first, *_] = notification.facts
    notification.service.send(
        ORDERS.name, first.event, event_id=first.id, to=replay_topic(ORDERS, GROUP).name
    )
    notification.place(customers(1))
    notification.eventually_notified()
    notification.service.eventually_caught_up()
    accepted, offered = notification.mail.totals()
    assert (
        (accepted - 3, offered - 3),
        len(notification.service.records(NOTIFICATIONS.name)) - 3,
    ) == before[:2]
    assert _deliveries(notification)[: len(before[2])] == before[2]


def _deliveries(notification: NotificationService) -> list[tuple[object, ...]]:
    return notification.service.rows(
        "SELECT position, ctid::text, xmin::text, sequence FROM delivery ORDER BY position"
    )


def _is_stopped(process: Process) -> bool:
    assert process.popen.poll() is None, process.log.read_text()
    return psutil.Process(process.popen.pid).status() == psutil.STATUS_STOPPED
