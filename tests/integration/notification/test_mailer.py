"""
What a mail server may say, and what the mailer makes of it: a yes, a final no, or not now; and
nothing else.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from tests.support.scripted_smtp import CLOSE, Scripted, scripted_smtp
from tests.unit.services.notification.test_model import letter

from orderflow.contracts.ids import CustomerId
from orderflow.services.notification.config import SmtpSettings
from orderflow.services.notification.mailer import Interrupted, Mailer, SendTask
from orderflow.services.notification.model import SendResult
from orderflow.stack.ports import HOST

LETTERS = (letter("anna", "1"), letter("anna", "2"))


@pytest.fixture
def server() -> Iterator[Scripted]:
    with scripted_smtp() as running:
        yield running


@pytest.fixture
def mailer(server: Scripted) -> Iterator[Mailer]:
    settings = SmtpSettings(host=HOST, port=server.port, timeout_s=2)
    made = Mailer(settings, give_up_s=3600, stopping=lambda: False)
    yield made
    made.close()


def sent(mailer: Mailer, *, for_s: float = 30) -> SendResult | Interrupted:
    task = SendTask(customer_id=CustomerId("anna"), letters=LETTERS, until=time.monotonic() + for_s)
    return mailer.call(task)


def verdict(mailer: Mailer) -> tuple[list[str | None], str | None]:
    """The refusal of each letter with an outcome (None: accepted); why the next is deferred."""
    ended = sent(mailer)
    assert isinstance(ended, SendResult), ended
    return [outcome.refusal for outcome in ended.outcomes], (
        ended.deferred.reason if ended.deferred else None
    )


def away(mailer: Mailer) -> str:
    ended = sent(mailer)
    assert isinstance(ended, Interrupted), ended
    assert ended.result.outcomes == ()
    return str(ended.error)


@pytest.mark.parametrize("hello", ["250-hello\r\n250 PIPELINING", "250 hello"])
def test_a_customers_letters_go_one_after_the_other_over_one_connection(
    server: Scripted, mailer: Mailer, hello: str
) -> None:
    server.answers["EHLO"] = hello
    assert [verdict(mailer) for _ in range(2)] == [([None, None], None)] * 2
    assert server.connections == 1
    assert server.commands == ["EHLO", *["MAIL", "RCPT", "DATA", "mail"] * 4]


@pytest.mark.parametrize("hello", ["250-hello\r\n250 PIPELINING", "250 hello"])
@pytest.mark.parametrize("data", ["503 no recipient", "354 go on"])
def test_a_final_no_to_the_recipient_settles_the_letter_and_the_next_one_goes_on(
    server: Scripted, mailer: Mailer, hello: str, data: str
) -> None:
    server.answers |= {"EHLO": hello, "RCPT": "550 who?", "DATA": data, "mail": "554 no recipient"}
    assert verdict(mailer) == (["550 who?", "550 who?"], None)
    assert server.connections == 1


def test_a_final_no_to_the_mail_itself_settles_the_letter(server: Scripted, mailer: Mailer) -> None:
    server.answers["mail"] = "554 I do not like it"
    assert verdict(mailer) == (["554 I do not like it"] * 2, None)


@pytest.mark.parametrize(
    ("command", "answer"), [("RCPT", "451 later"), ("mail", "452 full"), ("MAIL", "450 busy")]
)
def test_not_now_holds_the_letter_and_all_behind_it(
    server: Scripted, mailer: Mailer, command: str, answer: str
) -> None:
    server.answers |= {
        command: answer,
        **({} if command == "mail" else {"DATA": "503 first things first"}),
    }
    assert verdict(mailer) == ([], answer)
    assert server.commands.count("MAIL") == 1


def test_a_conversation_that_breaks_off_is_no_answer(server: Scripted, mailer: Mailer) -> None:
    server.answers["mail"] = CLOSE
    outcomes, deferred = verdict(mailer)
    assert outcomes == []
    assert deferred is not None
    assert deferred.startswith("no answer")


def test_a_connection_that_ended_while_it_rested_is_nobodys_trouble(
    server: Scripted, mailer: Mailer
) -> None:
    assert verdict(mailer) == ([None, None], None)
    server.answers["MAIL"] = CLOSE
    assert verdict(mailer)[0] == []
    server.answers["MAIL"] = "250 ok"
    assert verdict(mailer) == ([None, None], None)
    assert server.connections == 3


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ("greeting", "554 not you"),
        ("EHLO", "421 closing"),
        ("MAIL", "550 not from you"),
        ("RCPT", "421 closing"),
    ],
)
def test_a_no_that_is_not_about_the_letter_leaves_it_as_it_was(
    server: Scripted, mailer: Mailer, command: str, answer: str
) -> None:
    server.answers |= {command: answer, "DATA": "503 first things first"}
    assert away(mailer)


def test_nothing_is_begun_after_the_time_is_over(server: Scripted, mailer: Mailer) -> None:
    assert sent(mailer, for_s=0) == SendResult(customer_id=CustomerId("anna"))
    assert server.commands == []
