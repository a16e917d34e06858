"""What the mail server defers again and again ends, and the customer's later mails go on."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from msgspec import structs
from tests.support.builders import an_order, received
from tests.support.spans import recorded

from orderflow.contracts.ids import OrderId
from orderflow.messaging.event import read_clock
from orderflow.messaging.telemetry.trace_context import process_span_id
from orderflow.services.notification.config import SenderSettings, SmtpSettings
from orderflow.services.notification.mailer import Mailer, SendTask
from orderflow.services.notification.model import Kind, Letter, SendResult
from orderflow.services.notification.smtp import ConnectionLost
from orderflow.services.notification.traces import traceparent_of

NOT_NOW, TAKEN = (451, "not now"), (250, "taken")
GIVE_UP_S = 3600.0


def letter(name: str, *, age_s: float = 0, attempts: int = 0) -> Letter:
    record = received(an_order(OrderId("019ac5d2-6c4e-7b1a-9d3f-2f6d0c8e4a10")))
    return msgspec.convert(
        {
            **dict.fromkeys(("traceparent", "tracestate")),
            "position": 1,
            "notification_id": name,
            "customer_id": "customer-1",
            "order_id": record.event.order_id,
            "kind": Kind.ORDER_CREATED,
            "subject": "s",
            "text": "t",
            "created_at": read_clock() - timedelta(seconds=age_s),
            "cause_id": record.metadata.id,
            "cause_type": "orderflow.OrderCreated",
            "correlation_id": "c",
            "attempts": attempts,
        },
        Letter,
    )


def sent(monkeypatch: pytest.MonkeyPatch, replies: dict[str, Any], *letters: Letter) -> SendResult:
    """What comes of these letters when the server replies so, by notification id."""

    def reply(
        _mailer: Mailer, mails: Sequence[tuple[str, bytes]], *, until: float
    ) -> Iterator[tuple[int, str]]:
        for _, mail in mails:
            [name] = re.findall(rb"Message-ID: <(.*)@", mail)
            answer = replies[name.decode()]
            if isinstance(answer, Exception):
                raise answer
            yield answer

    monkeypatch.setattr(Mailer, "_send", reply)
    mailer = Mailer(SmtpSettings(), give_up_s=GIVE_UP_S, stopping=lambda: False)
    task = SendTask(letters=[(letters[0].customer_id, letters)], until=time.monotonic() + 60)
    sent = mailer.call(task)
    assert sent.error is None
    [result] = sent.results
    return result


@pytest.mark.parametrize("last", [NOT_NOW, ConnectionLost("timed out")], ids=["4xx", "silence"])
def test_a_mail_that_is_given_up_does_not_hold_back_the_customers_later_ones(
    monkeypatch: pytest.MonkeyPatch, last: Any
) -> None:
    old, new = letter("old", age_s=GIVE_UP_S, attempts=9), letter("new")
    result = sent(monkeypatch, {"old": last, "new": TAKEN}, old, new)
    assert result.deferred is None
    failed, taken = result.outcomes
    assert (failed.refusal or "").startswith("EXPIRED after 10 attempts in 3600 s: ")
    assert failed.given_up
    assert (taken.letter, taken.refusal) == (new, None)


@pytest.mark.parametrize(("age_s", "attempts"), [(GIVE_UP_S * 9, 0), (GIVE_UP_S - 60, 99)])
def test_a_mail_that_is_old_or_was_tried_often_waits_and_all_behind_it(
    monkeypatch: pytest.MonkeyPatch, age_s: float, attempts: int
) -> None:
    first = letter("first", age_s=age_s, attempts=attempts)
    result = sent(monkeypatch, {"first": NOT_NOW, "next": TAKEN}, first, letter("next"))
    assert result.outcomes == ()
    assert result.deferred is not None
    assert result.deferred.letter == first


def test_a_customer_rests_for_ten_minutes_at_most_and_a_mail_lives_for_three_days() -> None:
    settings = SenderSettings(port=1)
    assert (settings.back_off_s_max, settings.give_up_s) == (600, 3 * 86_400)


def test_every_offer_has_a_span_and_the_last_one_is_what_the_event_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    mail = structs.replace(letter("m"), traceparent=trace)
    with recorded() as spans:
        sent(monkeypatch, {"m": NOT_NOW}, mail)
        sent(monkeypatch, {"m": TAKEN}, structs.replace(mail, attempts=1))
        named = traceparent_of(mail)
    deferred, taken = spans.named("send mail")
    assert (deferred.error, taken.error) == ("not now", "")
    assert str(taken.context) == named != str(deferred.context)
    parent = process_span_id("notification-service", str(mail.cause_id))
    assert {deferred.parent_id, taken.parent_id} == {parent}
