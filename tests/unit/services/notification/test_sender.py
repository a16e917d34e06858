"""Outcomes whose customer's row somebody holds: they wait, and no other customer with them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import pytest
from tests.unit.services.notification.test_model import AT, letter

from orderflow.contracts.ids import CustomerId
from orderflow.messaging.errors import Contention
from orderflow.messaging.postgres import Session
from orderflow.messaging.process.prerequisites import Prerequisites
from orderflow.messaging.work.calls import InlineCalls
from orderflow.messaging.work.gate import Gate
from orderflow.services.notification import repository
from orderflow.services.notification import sender as module
from orderflow.services.notification.config import SenderSettings, SmtpSettings
from orderflow.services.notification.mailer import Mailer
from orderflow.services.notification.model import Outcome, SendResult
from orderflow.services.notification.sender import Sender

CUSTOMERS = [CustomerId(f"customer-{number}") for number in range(20)]
HELD = CUSTOMERS[7]


class Rows:
    """The customers' rows: some are held by a stranger; `settled` are the others, as recorded."""

    def __init__(self) -> None:
        self.held = {HELD}
        self.settled: list[CustomerId] = []

    @contextmanager
    def pipelined(self) -> Iterator[None]:
        yield

    def settle(self, _cursor: Any, results: Sequence[SendResult], **_others: Any) -> list[Any]:
        customers = [result.customer_id for result in results]
        if self.held & {*customers}:
            raise Contention("somebody holds the row", resource="database")
        self.settled += customers
        return []


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> Rows:
    rows = Rows()
    monkeypatch.setattr(module, "settle", rows.settle)
    monkeypatch.setattr(repository, "lease", lambda *_arguments, **_settings: [])
    return rows


@pytest.fixture
def sender(rows: Rows) -> Sender:
    session = cast("Session", rows)
    sender = Sender(
        "test",
        settings=SenderSettings(port=1),
        prerequisites=Prerequisites(transaction=session.pipelined),
        session=session,
        mailer=Mailer(SmtpSettings(), give_up_s=60, stopping=lambda: False),
        calls=InlineCalls(lambda _task: None, 1),
        mail_gate=Gate("test", "send"),
        database_gate=Gate("test", "record"),
    )
    sender._unrecorded = [SendResult(customer_id=customer) for customer in CUSTOMERS]
    return sender


def test_a_row_that_somebody_holds_delays_no_other_customer(rows: Rows, sender: Sender) -> None:
    sender._record_all(contended_until=0)
    assert sorted(rows.settled) == sorted(set(CUSTOMERS) - {HELD})

    rows.held.clear()
    sender._record_all(contended_until=float("inf"))
    assert sorted(rows.settled) == sorted(CUSTOMERS)


def test_letters_that_are_given_up_do_not_hide_that_the_server_takes_nothing(
    sender: Sender,
) -> None:
    for customer in CUSTOMERS:
        given_up = Outcome(letter=letter(customer, "old"), at=AT, refusal="EXPIRED", given_up=True)
        result = SendResult(customer_id=customer, outcomes=(given_up,))
        sender._watch_for_deferrals(result)
    assert len(sender._deferred_in_a_row) == len(CUSTOMERS)

    taken = Outcome(letter=letter(CUSTOMERS[0], "new"), at=AT)
    sender._watch_for_deferrals(SendResult(customer_id=CUSTOMERS[0], outcomes=(taken,)))
    assert not sender._deferred_in_a_row
