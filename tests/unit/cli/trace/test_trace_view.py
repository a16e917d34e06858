"""The story as text: it fits into 80 columns, names what helps, and quotes nobody."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest
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

from orderflow.cli.called import called
from orderflow.cli.trace.evidence import DeadLetter, Evidence, Missing, Seen
from orderflow.cli.trace.story import tell
from orderflow.cli.trace.view import shown
from orderflow.cli.trace.words import duration
from orderflow.messaging.dead_letters.dispositions import Disposition, DispositionKind
from orderflow.messaging.kafka.finished_offsets import Window

NOW = NOON + timedelta(minutes=1)


def text(evidence: Evidence, *, everything: bool = False) -> str:
    return shown(tell(evidence, now=NOW), now=NOW, everything=everything).plain


def sentences(text: str) -> str:
    """All lines in one, without times and the tree's own lines."""
    return " ".join(row[13:].strip("│├└ ") for row in text.splitlines())


def evidence(records: list[Seen], **fields: object) -> Evidence:
    given = {
        "order": order("PAID"),
        "history": [PLACED],
        "lines": everybody_handled(records),
        **fields,
    }
    return Evidence(order_id=ORDER, records=records, **given)  # type: ignore[arg-type]


@pytest.mark.parametrize("everything", [False, True])
@pytest.mark.parametrize("name", ["out_of_stock", "delivered"])
def test_no_line_is_longer_than_80_columns(name: str, everything: bool) -> None:
    assert [
        row for row in text(recorded(name), everything=everything).splitlines() if len(row) > 80
    ] == []


def test_an_order_out_of_stock_reads_from_the_command_to_the_refund() -> None:
    wanted = [
        "command place: Order has been created (CREATED, version 1)",
        "payment attempt 1 SUCCEEDED, 499.00 EUR, took 34 ms",
        "stock of this order is now REJECTED",
        "order: Order has been cancelled: out of stock",
        "shipment CALLED_OFF",
        "refund SUCCEEDED, 499.00 EUR (OUT_OF_STOCK), took 9 ms",
        "mail PAYMENT_REFUNDED SENT, took 27 ms, told on",
    ]
    rows = sentences(text(recorded("out_of_stock")))
    assert [words for words in wanted if words not in rows] == []
    assert sorted(wanted, key=rows.index) == wanted


def test_groups_that_only_handled_a_record_share_a_line() -> None:
    assert "also handled by notification-service (50 ms), order-processor" in text(
        evidence([CREATED, EVENT_CREATED])
    )


def test_what_changed_nothing_is_counted_and_shown_when_asked_for() -> None:
    lines = [
        line(CREATED, "payment-service", 60),
        line(CREATED, "inventory-service", 60, "skipped"),
    ]
    short = text(evidence([CREATED], lines=lines))
    assert "inventory-service" not in short
    assert "1 more that changed nothing for the order: --all" in short
    assert "inventory-service has no use for it" in text(
        evidence([CREATED], lines=lines), everything=True
    )


def test_what_it_waits_for_is_said_with_whose_turn_it_is_and_what_helps() -> None:
    waiting = {
        "for": "STOCK",
        "since": said(0),
        "deadline": said(30_000),
        "overdue": True,
        "owner": "inventory",
        "nextAction": "ask again: `orderflow stuck retry 1`; give up: `orderflow stuck cancel 1`",
    }
    rows = text(evidence([CREATED], order=order("PAID", waiting=waiting)))
    assert "waits for STOCK for 1 min · whose turn: inventory · OVERDUE by 30.0 s" in rows
    assert f"what helps: ask again: `{called()} stuck retry 1`; give up:\n" in rows
    assert f"\n`{called()} stuck cancel 1`\n" in rows


def test_who_has_not_handled_a_record_yet_is_not_folded_away() -> None:
    late = msgspec.structs.replace(CREATED, at=NOON)
    progress = {("payment-service", "orders", 0): Window(0)}
    rows = text(evidence([late], lines=[], progress=progress))
    assert "payment-service HAS NOT HANDLED IT YET; it is there for 1 min" in sentences(rows)


def test_attempts_waits_and_dead_letters_are_in_words() -> None:
    letter = DeadLetter(
        group="inventory-service",
        given_up=SUCCEEDED.position,
        error="HandlerError",
        attempts=3,
        first_failure=after(200),
        last_failure=after(2_200),
    )
    topic = "payments.inventory-service.dlt"
    dead = msgspec.structs.replace(SUCCEEDED, topic=topic, offset=4, letter=letter)
    again = msgspec.structs.replace(
        SUCCEEDED, topic="payments.inventory-service.replay", at=after(9_000), replays=1
    )
    lines = [
        line(CREATED, "payment-service", 2_010, attempts=2, waited_ms=1_900),
        line(SUCCEEDED, "inventory-service", 2_210, "dead letter"),
        line(again, "inventory-service", 9_050),
    ]
    rows = sentences(text(evidence([CREATED, SUCCEEDED, dead, again], lines=lines)))
    for words in (
        "payment-service handled it after 2.0 s, 2 attempts failed before, waited 1.9 s",
        "DEAD LETTER of inventory-service: HandlerError after 3 attempts in 2.0 s",
        "on payments.inventory-service.dlt-0@4",
        "PaymentSucceeded sent back for the 1st time, on payments.inventory-service.replay-0@0",
    ):
        assert words in rows


def test_a_record_that_can_not_be_read_is_said_to_be_so_and_where_an_operator_looks() -> None:
    letter = DeadLetter(
        group="inventory-service",
        given_up=SUCCEEDED.position,
        error="Poison",
        attempts=0,
        first_failure=after(200),
        last_failure=after(200),
    )
    topic = "payments.inventory-service.dlt"
    dead = msgspec.structs.replace(SUCCEEDED, topic=topic, offset=4, letter=letter)
    rows = text(evidence([CREATED, SUCCEEDED, dead]))
    assert "DEAD LETTER of inventory-service: it can't be read (Poison), on" in sentences(rows)
    assert f"  {called()} dlt show {topic}/0/4\n" in rows


@pytest.mark.parametrize(
    ("disposition", "words"),
    [
        (None, ", still OPEN"),
        (
            Disposition(kind=DispositionKind.REPLAYED, by="ada", reason="mended", at=after(900)),
            ', REPLAYED by ada ("mended")',
        ),
        (
            Disposition(kind=DispositionKind.DISCARDED, by="ada", at=after(900)),
            ", DISCARDED by ada",
        ),
    ],
)
def test_a_dead_letter_says_what_has_become_of_it(
    disposition: Disposition | None, words: str
) -> None:
    letter = DeadLetter(
        group="inventory-service",
        given_up=SUCCEEDED.position,
        error="Poison",
        attempts=0,
        first_failure=after(200),
        last_failure=after(200),
    )
    dead = msgspec.structs.replace(
        SUCCEEDED, topic="payments.inventory-service.dlt", offset=4, letter=letter
    )
    known = msgspec.structs.replace(
        evidence([CREATED, SUCCEEDED, dead]), dispositions={dead.position: disposition}
    )
    assert f"inventory-service.dlt-0@4{words}" in sentences(text(known))


def test_an_order_at_its_end_is_said_to_wait_for_nothing() -> None:
    assert "it waits for nothing: it has come to its end" in text(recorded("delivered"))


def test_an_operators_act_says_who_and_why() -> None:
    act = entry(
        950, "An operator asked again", "PAID", 2, ("operator", "retry"), actor="kim", reason="4711"
    )
    assert 'operator\'s act retry by kim, because "4711": An operator asked again' in sentences(
        text(evidence([CREATED], history=[PLACED, act]))
    )


def test_what_is_missing_stands_at_the_end() -> None:
    away = Missing(source="payment", why="its API did not answer", unasked=True)
    rows = text(evidence([CREATED, EVENT_CREATED], missing=[away])).splitlines()
    assert rows[-3:-1] == ["this story is not complete:", "  payment: its API did not answer"]


def test_a_day_is_named_once_before_its_first_line() -> None:
    late = seen("late", "OrderShipped", "orders", 4, 86_400_000)
    rows = text(evidence([CREATED, EVENT_CREATED, late])).splitlines()
    assert [row for row in rows if row.startswith("2026-")] == ["2026-01-31", "2026-02-01"]


def test_foreign_text_can_not_move_the_cursor_of_the_terminal() -> None:
    foreign = Seen(
        topic="orders", partition=0, offset=9, at=after(1), event_id="x", type="a.\x1b[2Jgone"
    )
    assert "\x1b" not in text(evidence([CREATED, foreign]))


def test_a_deep_tree_of_foreign_records_still_fits() -> None:
    chain = [
        seen(f"e{number}", "OrderCreated", "orders", number, number, cause=f"e{number - 1}")
        for number in range(60)
    ]
    assert max(len(row) for row in text(evidence(chain, lines=[])).splitlines()) <= 80


@pytest.mark.parametrize(
    ("ms", "words"),
    [
        (0, "0 ms"),
        (999, "999 ms"),
        (5_017, "5.0 s"),
        (60_000, "1 min"),
        (123_400, "2 min 3 s"),
        (12_000_000, "3 h 20 min"),
        (3_600_000 * 98, "4 d 2 h"),
    ],
)
def test_durations_read_as_people_say_them(ms: int, words: str) -> None:
    assert duration(ms) == words
