"""
Makes one story of all evidence about an order: a tree of acts, records, who handled them, and what
they caused. Pure.

A record hangs below the handling that published it (`ce_causationid`, `ce_source`); a record
without a cause below the act of the order's history that happened at its time. Nothing is made up:
a handling of which no line is left is known only by what it published, or by how far its group has
come; else it is unknown, and the story says that it is not complete.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

from orderflow.cli.trace.evidence import (
    Answer,
    Evidence,
    Handled,
    Missing,
    Position,
    Seen,
    moment,
)
from orderflow.contracts.events import (
    OrderCancelled,
    OrderCreated,
    OrderEvent,
    PaymentRequested,
    PaymentSucceeded,
    StockReserved,
)
from orderflow.contracts.roster import ALL_GROUPS, GROUPS, ROSTER, row
from orderflow.contracts.topics import ORDER_EVENTS, source_of
from orderflow.messaging.dead_letters.dispositions import Disposition
from orderflow.messaging.kafka.group_topics import replay_topic

Kind = Literal[
    "act",
    "record",
    "replay",
    "dead letter",
    "handling",
    "change",
    "payment",
    "refund",
    "reservation",
    "shipment",
    "mail",
]
GIVEN = ("command", "deadline", "operator")
"""Causes of a change that are no records."""

OPEN = "OPEN"
"""A dead letter that nobody has dealt with."""

DEPTH_MAX = 40
"""Causes in a row. Our own chains have six; who goes on and on, or in a circle, is not ours."""
PLACES_SHOWN = 3


class Node(msgspec.Struct, kw_only=True, rename="camel"):
    """
    One thing that happened.

    `at`: a record's time, or when it was handled, given, decided, sent. `took_ms`: of a record from
    the effect to its publication, of a handling from the record's time to its end, of a payment,
    refund or mail from its beginning to its end. `waited_ms`: of a handling since the record had
    failed first, or is there to be handled; of a dead letter from its first to its last failure;
    whose `details` say what has become of it, and `actor` and `reason` by whom and why.
    `span_id`: of the record's sending, of the handling.

    `outcome` of a handling: handled, repeat, skipped, dead letter; pending: not yet; finished: by
    how far the group has come; unknown. Of a record: again (a copy of an earlier one), or
    unreadable.
    """

    kind: Kind
    at: datetime | None
    what: str
    service: str | None = None
    group: str | None = None
    topic: str | None = None
    partition: int | None = None
    offset: int | None = None
    event_id: str | None = None
    type: str | None = None
    caused_by: str | None = None
    trace_id: str | None = None
    span_id: str | None = None
    took_ms: int | None = None
    attempts: int | None = None
    waited_ms: int | None = None
    outcome: str | None = None
    actor: str | None = None
    reason: str | None = None
    version: int | None = None
    details: dict[str, Any] | None = None
    children: list[Node] = msgspec.field(default_factory=list)

    @property
    def place(self) -> str:
        return f"{self.topic}-{self.partition}@{self.offset}"


class Story(msgspec.Struct, kw_only=True, rename="camel"):
    """
    `complete` is true if nothing is `missing`. `trace_ids`: all, in the order of their first
    records; `trace_id` is the first of them. `order`: status, payment, stock and times, as the
    order service says.
    """

    order_id: str
    customer_id: str | None
    trace_id: str | None
    trace_ids: list[str]
    complete: bool
    missing: list[Missing]
    order: Answer | None
    story: list[Node]
    waiting: Answer | None
    zipkin: str | None = None

    def nodes(self) -> Iterator[Node]:
        """Every node, parents before their children."""
        return walk(self.story)


def walk(nodes: Iterable[Node]) -> Iterator[Node]:
    """Every node below, parents before their children."""
    for node in nodes:
        yield node
        yield from walk(node.children)


def tell(evidence: Evidence, *, now: datetime) -> Story:
    """The story that the evidence tells, as of `now`."""
    telling = _Telling(evidence, now=now)
    roots = telling.tree()
    missing = [*evidence.missing, *telling.unknown(), *_unseen(evidence, now=now)]
    traces = list(dict.fromkeys(seen.trace_id for seen in telling.records if seen.trace_id))

    order = evidence.order
    return Story(
        order_id=evidence.order_id,
        customer_id=customer_of(order, evidence.records),
        trace_id=traces[0] if traces else None,
        trace_ids=traces,
        complete=not missing,
        missing=missing,
        order=None if order is None else {name: order.get(name) for name in _OF_THE_ORDER},
        story=roots,
        waiting=None if order is None else order.get("waiting"),
    )


def customer_of(order: Answer | None, records: Iterable[Seen]) -> str | None:
    """The customer's id, as the order service or else a record of the order says it."""
    answers = (order, *(seen.value for seen in records))
    said = (answer.get("customerId") for answer in answers if answer)
    return next((customer for customer in said if isinstance(customer, str)), None)


class _Telling:
    """Makes the nodes of one order, and hangs each below what caused it."""

    def __init__(self, evidence: Evidence, *, now: datetime) -> None:
        self._evidence, self._now = evidence, now
        self.records = sorted(evidence.records, key=lambda seen: (seen.at, seen.position))
        self._events = [seen for seen in self.records if seen.letter is None]
        self._letters = [seen for seen in self.records if seen.letter is not None]
        self._first: dict[str, Seen] = {}
        for seen in self._events:
            if seen.event_id is not None:
                self._first.setdefault(seen.event_id, seen)

        self._nodes = {seen.position: self._record(seen) for seen in self._events}
        self._handlings: dict[tuple[str, str], list[Node]] = defaultdict(list)
        """By event id and group."""
        for seen in self._events:
            self._add_handlings(seen)
        self._loose: list[Node] = []
        """What happened, and nobody knows after what."""

    def tree(self) -> list[Node]:
        """The roots, in the order of time."""
        acts = self._acts()
        self._add_changes()
        self._add_payments()
        self._add_reservation()
        self._add_shipment()
        mails = self._add_mails()
        self._add_records(acts, mails)
        self._add_letters_and_replays()

        self._judge_by_effects()
        roots = [*acts, *self._loose]
        for node in walk(roots):
            node.children.sort(key=_when)
        return sorted(roots, key=_when)

    def unknown(self) -> list[Missing]:
        """The handlings of which it is not known when they were, by group."""
        if not self._evidence.has_lines:
            return []

        without: dict[str, list[str]] = defaultdict(list)
        for (_event, group), handlings in self._handlings.items():
            without[group] += [node.place for node in handlings if _lacks_line(node)]

        return [
            Missing(
                source=f"lines of {group}",
                why=f"none about {_some(places)}: lost in a kill, rotated away, or written on "
                "another host",
            )
            for group, places in without.items()
            if places
        ]

    def _record(self, seen: Seen) -> Node:
        service = _SERVICES_BY_SOURCE.get(seen.source or "")
        outcome = None
        if seen.event_id is None:
            outcome = "unreadable"
        elif self._first[seen.event_id] is not seen:
            outcome = "again"

        return Node(
            kind="replay" if seen.topic in _REPLAYS else "record",
            at=seen.at,
            what=seen.name,
            service=service,
            group=_REPLAYS.get(seen.topic),
            topic=seen.topic,
            partition=seen.partition,
            offset=seen.offset,
            event_id=seen.event_id,
            type=seen.type,
            caused_by=seen.caused_by,
            trace_id=seen.trace_id,
            span_id=seen.span_id,
            took_ms=None if outcome == "again" else _ms(self._began(seen), seen.at),
            attempts=seen.replays or None,
            outcome=outcome,
            details=_details(seen),
        )

    def _began(self, seen: Seen) -> datetime | None:
        """When what a record says was recorded: not before its cause, though it may say so."""
        cause = self._first.get(seen.caused_by or "")
        if cause is None or seen.happened_at is None:
            return seen.happened_at
        # A sum has the time of what is summed up.
        return max(seen.happened_at, min(cause.at, seen.at))

    def _add_handlings(self, seen: Seen) -> None:
        node = self._nodes[seen.position]
        by_group: dict[str, list[Handled]] = defaultdict(list)
        for line in self._evidence.lines:
            if line.position == seen.position:
                by_group[line.group].append(line)

        for group in dict.fromkeys((*_LISTENERS.get(seen.topic, ()), *by_group)):
            handlings = [_handling(seen, line) for line in by_group[group]] or [
                self._without_line(seen, group)
            ]
            node.children += handlings
            if seen.event_id is not None:
                self._handlings[seen.event_id, group] += handlings

    def _without_line(self, seen: Seen, group: str) -> Node:
        window = self._evidence.progress.get((group, seen.topic, seen.partition))
        outcome = "unknown"
        if window is not None:
            outcome = "finished" if window.is_finished(seen.offset) else "pending"
        node = _handling_node(seen, group, at=None, outcome=outcome)
        node.waited_ms = _ms(seen.at, self._now) if outcome == "pending" else None
        return node

    def _handling(self, event_id: str | None, service: str) -> Node | None:
        """The handling of an event that had effects: the first that was not a repeat."""
        handlings = self._handlings.get((event_id or "", row(service).group), [])
        for outcomes in (("handled",), ("finished", "unknown", "pending")):
            for node in handlings:
                if node.outcome in outcomes:
                    return node
        return handlings[0] if handlings else None

    def _hang(self, node: Node, below: Node | None) -> None:
        (self._loose if below is None else below.children).append(node)

    def _acts(self) -> list[Node]:
        return [
            _change(entry, kind="act")
            for entry in self._evidence.history
            if _cause(entry).get("type") in GIVEN
        ]

    def _add_changes(self) -> None:
        for entry in self._evidence.history:
            cause = _cause(entry)
            if cause.get("type") not in GIVEN:
                self._hang(_change(entry, kind="change"), self._handling(cause.get("id"), "order"))

    def _add_payments(self) -> None:
        for payment in _items(self._evidence.payments, "payments"):
            requested = self._event_of(
                (PaymentRequested.type_name(), OrderCreated.type_name()),
                "paymentId",
                payment.get("paymentId"),
            )
            self._hang(_payment(payment), self._handling(requested, "payment"))
            if refund := payment.get("refund"):
                cancelled = self._event_of((OrderCancelled.type_name(),))
                self._hang(_refund(refund, payment), self._handling(cancelled, "payment"))

    def _add_reservation(self) -> None:
        if reservation := self._evidence.reservation:
            paid = self._event_of(
                (PaymentSucceeded.type_name(),), "paymentId", reservation.get("paymentId")
            )
            node = Node(
                kind="reservation",
                at=None,
                what="reservation",
                service="inventory",
                outcome=reservation.get("status"),
            )
            self._hang(node, self._handling(paid, "inventory"))

    def _add_shipment(self) -> None:
        shipment = self._evidence.shipment or {}
        for field, status, word in _SHIPMENT:
            if (at := moment(shipment.get(field))) is not None:
                node = Node(
                    kind="shipment", at=at, what="shipment", service="fulfilment", outcome=word
                )
                event = self._event_at(at, (OrderEvent.type_name(), StockReserved.type_name()))
                event = event or self._event_of((OrderEvent.type_name(),), "status", status)
                self._hang(node, self._handling(event, "fulfilment"))

    def _add_mails(self) -> dict[str, Node]:
        """The mails' nodes, by notification id."""
        mails = {}
        for mail in self._evidence.mails:
            node = mails[str(mail.get("notificationId"))] = _mail(mail)
            self._hang(node, self._handling(mail.get("causeId"), "notification"))
        return mails

    def _add_records(self, acts: Sequence[Node], mails: Mapping[str, Node]) -> None:
        for seen in self._events:
            if seen.topic in _REPLAYS:
                continue
            below = None
            if self._is_caused(seen):
                below = self._publisher(seen, mails)
            elif seen.caused_by is None:
                below = next((act for act in acts if _began_with(act, seen)), None)
            self._hang(self._nodes[seen.position], below)

    def _publisher(self, seen: Seen, mails: Mapping[str, Node]) -> Node:
        """What published a record: a mail's end, else a handling of its cause, else its cause."""
        if (mail := mails.get(str((seen.value or {}).get("notificationId")))) is not None:
            return mail
        service = _SERVICES_BY_SOURCE.get(seen.source or "")
        handling = None if service is None else self._handling(seen.caused_by, service)
        return handling or self._nodes[self._first[str(seen.caused_by)].position]

    def _is_caused(self, seen: Seen) -> bool:
        """Whether a record that is there caused this one, and no circle leads back to it."""
        if seen.caused_by not in self._first:
            return False
        effect = seen
        for _ in range(DEPTH_MAX):
            cause = self._first.get(effect.caused_by or "")
            if cause is None:
                return True
            effect = cause
        return False

    def _add_letters_and_replays(self) -> None:
        letters: dict[tuple[str | None, str], list[Node]] = defaultdict(list)
        for seen in self._letters:
            node = _letter(seen, self._evidence.dispositions)
            letters[seen.event_id, str(node.group)].append(node)
            self._hang(node, self._given_up(seen))

        for seen in self._events:
            if seen.topic in _REPLAYS:
                group = _REPLAYS[seen.topic]
                before = [node for node in letters[seen.event_id, group] if _before(node, seen.at)]
                below = before[-1] if before else None
                self._hang(self._nodes[seen.position], below)

    def _given_up(self, seen: Seen) -> Node | None:
        """The handling in which the record became this dead letter."""
        letter = seen.letter
        assert letter is not None
        record = self._nodes.get(letter.given_up) if letter.given_up is not None else None
        if record is None and seen.event_id in self._first:
            record = self._nodes[self._first[seen.event_id].position]
        if record is None:
            return None

        handlings = [node for node in record.children if node.group == letter.group]
        for node in handlings:
            if node.outcome != "dead letter" and node.at is None:
                # The letter itself says how it ended.
                node.outcome, node.waited_ms = "dead letter", None
        dead = [node for node in handlings if node.outcome == "dead letter"]
        return (dead or [record])[0]

    def _judge_by_effects(self) -> None:
        """A handling without a line that has had effects is over, whatever else is known."""
        for handlings in self._handlings.values():
            for node in handlings:
                if node.at is None and node.children and node.outcome != "dead letter":
                    node.outcome, node.waited_ms = "handled", None

    def _event_at(self, at: datetime, types: Sequence[str]) -> str | None:
        """The id of the event of one of these types that happened then."""
        happened = (
            seen.event_id for seen in self._events if seen.happened_at == at and seen.type in types
        )
        return next(happened, None)

    def _event_of(
        self, types: Sequence[str], field: str | None = None, value: object = None
    ) -> str | None:
        """The id of the first event of a type whose field has this value."""
        for type_name in types:
            for seen in self._events:
                content = seen.value or {}
                if seen.type == type_name and (field is None or content.get(field) == value):
                    return seen.event_id
        return None


def _unseen(evidence: Evidence, *, now: datetime) -> list[Missing]:
    """What the order's history says was published and no topic has."""
    unread = ("Kafka", ORDER_EVENTS.name)
    if any(entry.unasked and entry.source.startswith(unread) for entry in evidence.missing):
        return []

    known = {seen.event_id for seen in evidence.records}
    lacking = [
        entry
        for entry in evidence.history
        if entry.get("eventId") and entry["eventId"] not in known
    ]
    return [
        Missing(
            source=ORDER_EVENTS.name,
            why=f"the OrderEvent of {entry.get('status')} is not there: deleted by retention, not "
            "published yet (see `orderflow status`), or this is another cluster"
            if _is_recent(entry, now=now)
            else f"the OrderEvent of {entry.get('status')} is not there: deleted by retention, or "
            "this is another cluster",
        )
        for entry in lacking
    ]


def _is_recent(entry: Answer, *, now: datetime) -> bool:
    at = moment(entry.get("occurredAt"))
    return at is not None and (now - at).total_seconds() < RECENT_S


RECENT_S = 3600.0


def _handling(seen: Seen, line: Handled) -> Node:
    node = _handling_node(seen, line.group, at=line.at, outcome=line.outcome)
    node.took_ms = _ms(seen.at, line.at)
    node.attempts, node.waited_ms = line.attempts, line.waited_ms
    node.span_id = line.span_id
    return node


def _handling_node(seen: Seen, group: str, *, at: datetime | None, outcome: str) -> Node:
    return Node(
        kind="handling",
        at=at,
        what=f"{group} handles {seen.name}",
        service=_SERVICES_BY_GROUP.get(group),
        group=group,
        topic=seen.topic,
        partition=seen.partition,
        offset=seen.offset,
        event_id=seen.event_id,
        type=seen.type,
        trace_id=seen.trace_id,
        outcome=outcome,
    )


def _change(entry: Answer, *, kind: Kind) -> Node:
    cause = _cause(entry)

    return Node(
        kind=kind,
        at=moment(entry.get("occurredAt")),
        what=str(entry.get("description")),
        service="order",
        event_id=entry.get("eventId"),
        type=cause.get("type"),
        caused_by=cause.get("id"),
        outcome=entry.get("status"),
        actor=cause.get("actor"),
        reason=cause.get("reason"),
        version=entry.get("version"),
    )


def _payment(payment: Answer) -> Node:
    began, ended = moment(payment.get("createdAt")), moment(payment.get("settledAt"))
    unknown = moment(payment.get("unknownSince"))

    return Node(
        kind="payment",
        at=ended or unknown or began,
        what=f"payment attempt {payment.get('attempt')}",
        service="payment",
        took_ms=_ms(began, ended),
        attempts=payment.get("attempt"),
        outcome=payment.get("state"),
        reason=payment.get("reason"),
        details={
            "paymentId": payment.get("paymentId"),
            "amountMinor": payment.get("amountMinor"),
            "currency": payment.get("currency"),
            "createdAt": payment.get("createdAt"),
            "unknownSince": payment.get("unknownSince"),
        },
    )


def _refund(refund: Answer, payment: Answer) -> Node:
    began, ended = moment(refund.get("createdAt")), moment(refund.get("settledAt"))

    return Node(
        kind="refund",
        at=ended or began,
        what="refund",
        service="payment",
        took_ms=_ms(began, ended),
        outcome=refund.get("state"),
        reason=refund.get("reason"),
        details={
            "refundId": refund.get("refundId"),
            "amountMinor": refund.get("amountMinor"),
            "currency": payment.get("currency"),
            "createdAt": refund.get("createdAt"),
        },
    )


def _mail(mail: Answer) -> Node:
    began, ended = moment(mail.get("createdAt")), moment(mail.get("occurredAt"))
    state = mail.get("state")

    return Node(
        kind="mail",
        at=ended or began,
        what=str(mail.get("kind")),
        service="notification",
        caused_by=mail.get("causeId"),
        took_ms=_ms(began, ended),
        attempts=mail.get("attempts"),
        outcome=state,
        # Of a failed or deferred mail it quotes the mail server, which may name the address.
        reason=mail.get("reason") if state in _OUR_OWN_WORDS else None,
        details={"notificationId": mail.get("notificationId"), "sequence": mail.get("sequence")},
    )


def _letter(seen: Seen, dispositions: Mapping[Position, Disposition | None]) -> Node:
    letter = seen.letter
    assert letter is not None
    decided = dispositions.get(seen.position)
    became = OPEN if decided is None else decided.kind.value

    return Node(
        kind="dead letter",
        at=seen.at,
        what=letter.error or "an error without a name",
        service=_SERVICES_BY_GROUP.get(letter.group),
        group=letter.group,
        topic=seen.topic,
        partition=seen.partition,
        offset=seen.offset,
        event_id=seen.event_id,
        type=seen.type,
        caused_by=seen.caused_by,
        trace_id=seen.trace_id,
        attempts=letter.attempts,
        waited_ms=_ms(letter.first_failure, letter.last_failure),
        outcome="dead letter",
        actor=None if decided is None else decided.by,
        reason=None if decided is None else decided.reason,
        details={
            "replays": seen.replays,
            "disposition": became if seen.position in dispositions else None,
        },
    )


def _details(seen: Seen) -> dict[str, Any] | None:
    """Of what the event says only what is about nobody: states, amounts, numbers, ids."""
    if seen.value is None:
        return None if seen.problem is None else {"problem": seen.problem}
    return {name: seen.value[name] for name in _TOLD_OF_EVENTS if seen.value.get(name) is not None}


def _lacks_line(node: Node) -> bool:
    if node.at is not None or node.outcome == "pending":
        return False
    # Who handles in bulk writes no line about what it has no use for.
    return not (node.outcome == "finished" and node.group in IN_BULK)


def _began_with(act: Node, seen: Seen) -> bool:
    """Whether the act published the record: it says so, or they have the same time to the ms."""
    if act.event_id is not None and act.event_id == seen.event_id:
        return True
    return seen.topic in _OF_ORDER and act.at is not None and act.at == seen.happened_at


def _before(node: Node, at: datetime) -> bool:
    return node.at is not None and node.at <= at


def _when(node: Node) -> datetime:
    """When it was, or what came of it began; a state without a time stands first."""
    if node.at is not None:
        return node.at
    if node.kind == "reservation":
        return _EARLY
    return min((_when(child) for child in node.children), default=_LATE)


def _ms(start: datetime | None, end: datetime | None) -> int | None:
    return None if start is None or end is None else round((end - start).total_seconds() * 1000)


def _cause(entry: Answer) -> Answer:
    return entry.get("cause") or {}


def _items(answer: Answer | None, name: str) -> Sequence[Answer]:
    return (answer or {}).get(name) or ()


def _some(places: Sequence[str]) -> str:
    shown = ", ".join(places[:PLACES_SHOWN])
    more = len(places) - PLACES_SHOWN
    return f"{shown} and {more} more" if more > 0 else shown


_EARLY, _LATE = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
_SERVICES_BY_GROUP = {member.group: member.name for member in ROSTER}
_SERVICES_BY_SOURCE = {source_of(member.name): member.name for member in ROSTER}
IN_BULK = frozenset(member.group for member in ROSTER if member.has_stores)
_REPLAYS = {
    replay_topic(topic, group).name: group
    for group, topics in ALL_GROUPS.items()
    for topic in topics
}
"""The group of each replay topic."""
# Who runs only on demand is in the story once it says something, and is not missed before.
_LISTENERS: dict[str, tuple[str, ...]] = {
    **{
        topic: tuple(
            group for group, topics in GROUPS.items() if topic in {seen.name for seen in topics}
        )
        for topic in {topic.name for topics in GROUPS.values() for topic in topics}
    },
    **{topic: (group,) for topic, group in _REPLAYS.items()},
}
_OF_ORDER = frozenset(topic.name for topic in row("order").publishes)
_OF_THE_ORDER = (
    "status",
    "version",
    "revision",
    "payment",
    "stock",
    "amountMinor",
    "currency",
    "createdAt",
    "updatedAt",
)
_TOLD_OF_EVENTS = (
    "status",
    "previousStatus",
    "version",
    "attempt",
    "reason",
    "amountMinor",
    "currency",
    "kind",
    "sequence",
)
_OUR_OWN_WORDS = ("HELD", "OVERTAKEN")
_SHIPMENT = (
    ("preparedAt", "PAID", "PREPARED"),
    ("trackedAt", "SHIPPED", "TRACKED"),
    ("closedAt", "DELIVERED", "CLOSED"),
    ("calledOffAt", "CANCELLED", "CALLED_OFF"),
)
