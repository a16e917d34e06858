"""
What a mail server may say, and what the mailer makes of it: a yes, a final no, or not now; and
nothing else.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from tests.support.scripted_smtp import (
    CHUNKING,
    CLOSE,
    PIPELINING,
    PLAIN,
    Scripted,
    scripted_smtp,
)
from tests.unit.services.notification.test_model import letter

from orderflow.contracts.ids import CustomerId
from orderflow.services.notification.config import SmtpSettings
from orderflow.services.notification.mailer import Mailer, SendTask, Sent
from orderflow.services.notification.model import SendResult
from orderflow.stack.ports import HOST

ANNA = (CustomerId("anna"), (letter("anna", "1"), letter("anna", "2")))
MANY = tuple((CustomerId(name), (letter(name, "1"),)) for name in ("bert", "carl", "dora"))
ONE_MAIL = {
    CHUNKING: ["RSET", "MAIL", "RCPT", "BDAT"],
    PIPELINING: ["MAIL", "RCPT", "DATA", "mail"],
    PLAIN: ["MAIL", "RCPT", "DATA", "mail"],
}
ALL = pytest.mark.parametrize("hello", [CHUNKING, PIPELINING, PLAIN])


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


def sent(mailer: Mailer, *letters: object, for_s: float = 30) -> Sent:
    task = SendTask(letters=letters or (ANNA,), until=time.monotonic() + for_s)  # type: ignore[arg-type]
    return mailer.call(task)


def ended(result: SendResult) -> tuple[list[str | None], str | None]:
    """The refusal of each letter with an outcome (None: accepted); why the next is deferred."""
    refusals = [outcome.refusal for outcome in result.outcomes]
    return refusals, result.deferred.reason if result.deferred else None


def verdict(mailer: Mailer) -> tuple[list[str | None], str | None]:
    answer = sent(mailer)
    assert answer.error is None
    [result] = answer.results
    return ended(result)


def away(mailer: Mailer) -> str:
    answer = sent(mailer)
    assert answer.error is not None
    assert [result.outcomes for result in answer.results] == [()]
    return str(answer.error)


@ALL
def test_a_customers_letters_go_one_after_the_other_over_one_connection(
    server: Scripted, mailer: Mailer, hello: str
) -> None:
    server.answers["EHLO"] = hello
    assert [verdict(mailer) for _ in range(2)] == [([None, None], None)] * 2
    assert server.connections == 1
    assert server.commands == ["EHLO", *ONE_MAIL[hello] * 4]


@ALL
def test_each_reply_is_about_its_own_letter(server: Scripted, mailer: Mailer, hello: str) -> None:
    replies = ["250 ok", "550 who?", "451 later", "250 ok"]
    server.answers |= {"EHLO": hello, "RCPT": replies, "BDAT": ["250 ok", "503 none", "503 none"]}
    server.answers["DATA"] = ["354 go on", "503 none", "503 none"]
    assert [ended(result) for result in sent(mailer, *MANY).results] == [
        ([None], None),
        (["550 who?"], None),
        ([], "451 later"),
    ]
    assert server.connections == 1


def test_of_letters_in_flight_the_first_without_a_reply_is_in_doubt_and_the_others_go_on(
    server: Scripted, mailer: Mailer
) -> None:
    server.answers |= {"EHLO": CHUNKING, "BDAT": ["250 ok", CLOSE, "250 ok"]}
    first, lost, last = sent(mailer, *MANY).results
    assert (ended(first), ended(last)) == (([None], None), ([None], None))
    assert lost.outcomes == ()
    assert lost.deferred is not None
    assert lost.deferred.reason.startswith("no answer")
    assert server.connections == 2


def test_a_server_that_goes_away_in_a_flight_has_judged_what_it_replied_to(
    server: Scripted, mailer: Mailer
) -> None:
    server.answers |= {"EHLO": CHUNKING, "RCPT": ["250 ok", "421 closing"]}
    answer = sent(mailer, *MANY)
    assert answer.error is not None
    assert [ended(result) for result in answer.results] == [([None], None), ([], None), ([], None)]


@pytest.mark.parametrize("hello", [PIPELINING, PLAIN])
@pytest.mark.parametrize("data", ["503 no recipient", "354 go on"])
def test_a_final_no_to_the_recipient_settles_the_letter_and_the_next_one_goes_on(
    server: Scripted, mailer: Mailer, hello: str, data: str
) -> None:
    server.answers |= {"EHLO": hello, "RCPT": "550 who?", "DATA": data, "mail": "554 no recipient"}
    assert verdict(mailer) == (["550 who?", "550 who?"], None)
    assert server.connections == 1


@ALL
def test_a_final_no_to_the_mail_itself_settles_the_letter(
    server: Scripted, mailer: Mailer, hello: str
) -> None:
    server.answers |= {
        "EHLO": hello,
        "mail": "554 I do not like it",
        "BDAT": "554 I do not like it",
    }
    assert verdict(mailer) == (["554 I do not like it"] * 2, None)


@ALL
@pytest.mark.parametrize(
    ("command", "answer"), [("RCPT", "451 later"), ("mail", "452 full"), ("MAIL", "450 busy")]
)
def test_not_now_holds_the_letter_and_all_behind_it(
    server: Scripted, mailer: Mailer, hello: str, command: str, answer: str
) -> None:
    not_now = answer if command == "mail" else "503 first things first"
    data = "354 go on" if command == "mail" else not_now
    server.answers |= {"EHLO": hello, command: answer, "BDAT": not_now, "DATA": data}
    assert verdict(mailer) == ([], answer)
    assert server.commands.count("MAIL") == 1


@ALL
def test_a_conversation_that_breaks_off_is_no_answer(
    server: Scripted, mailer: Mailer, hello: str
) -> None:
    server.answers |= {"EHLO": hello, "mail": CLOSE, "BDAT": CLOSE}
    outcomes, deferred = verdict(mailer)
    assert outcomes == []
    assert deferred is not None
    assert deferred.startswith("no answer")


@ALL
def test_a_connection_that_ended_while_it_rested_is_nobodys_trouble(
    server: Scripted, mailer: Mailer, hello: str
) -> None:
    server.answers["EHLO"] = hello
    assert verdict(mailer) == ([None, None], None)
    server.answers |= {"MAIL": CLOSE, "RSET": CLOSE}
    assert verdict(mailer)[0] == []
    server.answers |= {"MAIL": "250 ok", "RSET": "250 ok"}
    assert verdict(mailer) == ([None, None], None)
    assert server.connections == 3


@ALL
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
    server: Scripted, mailer: Mailer, hello: str, command: str, answer: str
) -> None:
    others = {"DATA": "503 first things first", "BDAT": "503 first things first"}
    server.answers |= {"EHLO": hello, **others, command: answer}
    assert away(mailer)


def test_nothing_is_begun_after_the_time_is_over(server: Scripted, mailer: Mailer) -> None:
    assert sent(mailer, for_s=0).results == (SendResult(customer_id=CustomerId("anna")),)
    assert server.commands == []


def test_a_flight_grows_with_a_quick_server_and_shrinks_with_a_slow_one(
    server: Scripted, mailer: Mailer, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = [(CustomerId(str(number)), (letter(str(number), "1"),)) for number in range(40)]
    server.answers["EHLO"] = CHUNKING
    begun = mailer.flight
    sent(mailer, *many)
    assert mailer.flight > begun

    monkeypatch.setattr("orderflow.services.notification.mailer.FLIGHT_S", (0.0, 0.0))
    sent(mailer, *many * 2)
    assert mailer.flight == 1
