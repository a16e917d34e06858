"""What people see of dead letters: complete, within 80 columns, and harmless."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

import msgspec
import pytest
from rich.text import Text
from tests.support.connect_letters import STACK_TRACE, connect_headers
from tests.unit.cli.dlt.letters import (
    DLT,
    EVIDENCE,
    FAILED,
    NOW,
    ORDER,
    a_group,
    a_letter,
    evil_letter,
)

from orderflow.cli.dlt.order_history import OrderHistory, around, order_of
from orderflow.cli.dlt.payload import hex_rows
from orderflow.cli.dlt.view import (
    discard_lines,
    letter_line,
    list_lines,
    plan_lines,
    report_lines,
    show_lines,
)
from orderflow.cli.dlt.words import evidence_line
from orderflow.messaging.dead_letters.dispositions import Disposition, DispositionKind
from orderflow.messaging.dead_letters.evidence import LetterEvidence, read_evidence
from orderflow.messaging.dead_letters.letter_place import LetterId
from orderflow.messaging.dead_letters.payload import Payload
from orderflow.messaging.dead_letters.replay_plan import (
    DeskReport,
    Held,
    PlannedLetter,
    ReplayPlan,
)
from orderflow.messaging.dead_letters.summary import summarize

JUNK = Payload(type="orderflow.OrderCreated", problem="EOFError, at byte 9 of 9")
TO = PlannedLetter(id=LetterId(DLT, 0, 12), to="orders.payment-service.replay")
STAYING = PlannedLetter(
    id=LetterId(DLT, 0, 13),
    held=Held.OLDER_OPEN,
    why="an older letter of its key is open",
    older=LetterId(DLT, 0, 12),
)


def entry(revision: int, minutes: float, description: str) -> dict[str, object]:
    at = FAILED + timedelta(minutes=minutes)
    return {
        "revision": revision,
        "occurredAt": at.isoformat(),
        "status": "CREATED",
        "description": description,
    }


def plain(lines: Iterable[Text]) -> str:
    return "\n".join(line.plain for line in lines)


def words(lines: Iterable[Text]) -> str:
    return " ".join(plain(lines).split())


def test_evidence_is_one_line() -> None:
    assert evidence_line(EVIDENCE) == (
        "orders-0@54 · group payment-service · Poison: the record has no ce_id header · 1 attempt"
    )


def test_what_the_headers_do_not_say_is_left_out() -> None:
    assert evidence_line(LetterEvidence()) == ""
    never = msgspec.structs.replace(EVIDENCE, attempts=0, message=None, replays=2, cut=("value",))
    assert evidence_line(never) == (
        "orders-0@54 · group payment-service · Poison · no attempt: it never reached its handler"
        " · sent back 2 times · cut to fit: value"
    )


def test_letters_are_listed_by_what_they_have_in_common() -> None:
    row = a_group(
        group="payment-service",
        topic="orders",
        type="OrderCreated",
        cause="UndefinedTable",
        message="SQLSTATE 42P01",
        letters=3,
        orders=2,
        parked=0,
        cut=0,
        oldest=NOW - timedelta(hours=2, minutes=5),
        first_letter=LetterId(DLT, 0, 12),
    )
    assert plain(list_lines([row], now=NOW)).splitlines()[1:] == [
        "       3      2 h 5 min        2  payment-service · orders · OrderCreated",
        "                                  UndefinedTable: SQLSTATE 42P01",
        "                                  oldest: orders.payment-service.dlt/0/12",
    ]


def test_a_list_says_what_can_not_be_replayed_as_it_is() -> None:
    text = words(list_lines([a_group()], now=NOW))
    assert "12 parked" in text
    assert "3 cut to fit" in text


def test_one_letter_is_one_line_with_its_order() -> None:
    line = letter_line(a_letter(), now=NOW).plain
    assert line.startswith(f"{DLT}/0/12  {ORDER}  2 h 4 min  Poison: the record has no ce_id")
    decided = Disposition(kind=DispositionKind.REPLAYED, by="ada", at=NOW)
    assert "REPLAYED" in letter_line(a_letter(disposition=decided), now=NOW).plain


def test_show_tells_record_failure_order_and_what_a_replay_would_do() -> None:
    history = OrderHistory(
        order_id=ORDER,
        order={"status": "CREATED", "payment": {"state": "REQUESTED"}, "stock": "NONE"},
        entries=tuple(entry(number, number - 9, f"step {number}") for number in range(1, 18)),
    )
    text = plain(show_lines(a_letter(), JUNK, history, TO, now=NOW))
    for part in (
        "OPEN since 2026-01-31 09:55:32.000 (2 h 4 min ago)",
        "group payment-service",
        "Poison: the record has no ce_id header",
        "1 attempt, failed first at 2026-01-31 09:55:00.000, last 32.0 s",
        "orders-0@54",
        "x-raw",
        "0x00ff",
        "not decoded: EOFError, at byte 9 of 9",
        "000000  00 00 00 00 07 6a 75 6e 6b",
        "Traceback (most recent call last):",
        "CREATED · payment REQUESTED · stock NONE",
        "orders.payment-service.replay, for payment-service alone",
        f"orderflow dlt replay {DLT}/0/12",
        f"orderflow dlt discard {DLT}/0/12",
    ):
        assert part in text, part
    steps = [line.rpartition("step ")[2] for line in text.splitlines() if "step" in line]
    assert steps == [str(number) for number in range(6, 14)]
    here = [at for at, line in enumerate(text.splitlines()) if "here this letter" in line]
    assert "step 9" in text.splitlines()[here[0] - 1]


def test_a_history_that_can_not_be_had_is_said() -> None:
    history = OrderHistory(order_id=ORDER, missing="the order API did not answer")
    text = words(show_lines(a_letter(), JUNK, history, TO, now=NOW))
    assert "its history is left out: the order API did not answer" in text


def test_a_letter_that_a_replay_would_not_send_says_why() -> None:
    text = words(show_lines(a_letter(), JUNK, OrderHistory(), STAYING, now=NOW))
    assert "would not send it: an older letter of its key is open" in text
    assert f"orderflow dlt show {DLT}/0/12" in text
    assert "orderflow dlt replay" not in text


def test_a_letter_that_is_dealt_with_says_by_whom_and_why() -> None:
    decided = Disposition(kind=DispositionKind.DISCARDED, by="ada", reason="a test", at=NOW)
    text = words(show_lines(a_letter(disposition=decided), JUNK, OrderHistory(), None, now=NOW))
    assert 'DISCARDED at 2026-01-31 12:00:00.000 by ada: "a test"' in text
    assert "OPEN" not in text


def test_a_decoded_payload_is_shown_as_it_is() -> None:
    payload = Payload(type="orderflow.OrderCreated", value={"orderId": ORDER, "amountMinor": 4980})
    text = plain(show_lines(a_letter(), payload, OrderHistory(), TO, now=NOW))
    assert '"amountMinor": 4980' in text
    assert "not decoded" not in text


def test_all_bytes_are_shown_if_that_is_asked_for() -> None:
    letter = a_letter(value=bytes(1_000))
    short = plain(show_lines(letter, JUNK, OrderHistory(), TO, now=NOW))
    assert "744 more bytes" in short
    long = plain(show_lines(letter, JUNK, OrderHistory(), TO, now=NOW, verbose=True))
    assert "0003e0" in long
    assert "more bytes" not in long
    assert max(len(row) for row in hex_rows(bytes(40), most=40)) <= 78


def test_a_plan_says_where_to_and_what_stays() -> None:
    plan = ReplayPlan(
        to_send={"orders.payment-service.replay": 2},
        held={Held.OLDER_OPEN: 11},
        beyond_max=5,
        letters=(TO, STAYING),
    )
    text = words(plan_lines(plan))
    assert "2 letters would be sent back" in text
    assert "2 orders.payment-service.replay" in text
    assert "11 letters not sent:" in text
    assert f"{DLT}/0/13: OLDER_OPEN: an older letter of its key is open" in text
    assert "and 10 more" in text
    assert "5 more fit, beyond --max" in text


def test_a_report_says_how_far_it_came_and_what_to_look_at_next() -> None:
    report = DeskReport(
        done=500, by_topic={"orders.payment-service.replay": 500}, stopped=True, left=1_200
    )
    text = words(report_lines(report, verb="sent back", now_what=["orderflow dlt list"]))
    assert text.startswith("500 letters sent back 500 orders.payment-service.replay")
    assert "1,200 letters not reached" in text
    assert text.endswith("orderflow dlt list")
    nothing = words(report_lines(DeskReport(), verb="sent back", now_what=["orderflow dlt list"]))
    assert nothing == "0 letters sent back"


def test_a_discard_is_counted_before_it_is_done() -> None:
    text = words(discard_lines([a_group(letters=30)], most=20))
    assert "20 letters would be discarded" in text
    assert "10 more fit, beyond --max" in text


@pytest.mark.parametrize("verbose", [False, True])
def test_all_of_it_fits_80_columns(verbose: bool) -> None:
    history = OrderHistory(
        order_id=ORDER, entries=(entry(1, -1, "word " * 40),), missing="word " * 40
    )
    planned = msgspec.structs.replace(STAYING, why="word " * 50)
    lines = [
        *list_lines([a_group()], now=NOW),
        *show_lines(a_letter(), JUNK, history, planned, now=NOW, verbose=verbose),
        *plan_lines(ReplayPlan(held={Held.PARKED: 1}, letters=(planned,))),
        *discard_lines([a_group()], most=1),
    ]
    ids = (DLT, "revenue-service-by-customer-repartition.notification-service.dlt")
    # What somebody copies is not broken.
    free = [line.plain for line in lines if not any(name in line.plain for name in ids)]
    assert max(map(len, free)) <= 80


def test_nothing_that_a_stranger_wrote_acts_or_forges_a_line() -> None:
    letter = evil_letter()
    history = OrderHistory(order_id=ORDER, missing="\x1b[2J\nforged")
    group = a_group(message="\x1b[2J\nforged", cause="\x1b[2J", type="\x1b[2J\nforged")
    payload = Payload(type="\x1b[2J\nforged", problem="\x1b[2J\nforged")
    lines = [
        *list_lines([group], now=NOW),
        letter_line(letter, now=NOW),
        *show_lines(letter, payload, history, TO, now=NOW),
        *discard_lines([group], most=None),
        Text(evidence_line(letter.evidence)),
    ]
    text = plain(lines)
    assert {each for each in text if not each.isprintable()} == {"\n"}
    forged = [line for line in text.splitlines() if line.startswith("forged")]
    assert not forged


def test_the_order_is_that_of_the_headers_or_of_the_key() -> None:
    assert order_of(a_letter()) == ORDER
    nobody = msgspec.structs.replace(EVIDENCE, order_id="customer-123")
    assert order_of(a_letter(evidence=nobody)) == ORDER
    assert order_of(a_letter(evidence=nobody, key=b"\xff")) is None
    assert order_of(a_letter(evidence=nobody, key=None)) is None


def test_the_history_around_a_failure_is_what_was_before_and_after() -> None:
    entries = tuple(entry(number, number, "") for number in (-2, -1, 1, 2))
    before, after = around(entries, FAILED)
    assert [each["revision"] for each in before] == [-2, -1]
    assert [each["revision"] for each in after] == [1, 2]


def test_a_letter_of_connects_is_told_like_our_own_and_a_list_has_no_stack_trace() -> None:
    quoting = connect_headers(message=f"Failed to deserialize\n{STACK_TRACE}")
    letters = [
        a_letter(offset, evidence=read_evidence(headers), group="payments-warehouse")
        for offset, headers in enumerate((connect_headers(), quoting))
    ]
    listed = [
        *list_lines(summarize(letters, replays_max=3), now=NOW),
        *(letter_line(letter, now=NOW) for letter in letters),
    ]
    assert "DataException ← SerializationException: Failed to deserialize" in words(listed)
    assert "AvroConverter" not in plain(listed)

    shown = words(show_lines(letters[0], JUNK, OrderHistory(), None, now=NOW))
    assert "in VALUE_CONVERTER by AvroConverter, task 0" in shown
    assert "tried Connect does not count attempts" in shown
    assert "was payments-2@41" in shown
    assert "AvroConverter.toConnectData(AvroConverter.java:91)" in shown
