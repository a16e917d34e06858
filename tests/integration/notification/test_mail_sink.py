"""
The mail sink's promises to those who test with it: what it accepted is known, and it misbehaves as
told.
"""

from __future__ import annotations

import json
import os
import signal
import smtplib
import subprocess
import sys
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path

import pytest
from tests.support.mail_sink import MailSink, mail_sink_running

from orderflow.stack.ports import HOST


@pytest.fixture
def mail(tmp_path: Path) -> Iterator[MailSink]:
    with mail_sink_running(tmp_path) as running:
        yield running


def offer(mail: MailSink, name: str, *, to: str = "anna@customers.localhost") -> None:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = (
        "orders@orderflow.localhost",
        to,
        f"Hello {name}",
    )
    message["Message-ID"] = f"<{name}@orderflow.localhost>"
    message["X-Orderflow-Order-Id"], message["X-Orderflow-Customer-Id"] = "order-1", "anna"
    message.set_content("Hello,\n\n.\n\nüber\n")
    with smtplib.SMTP(HOST, mail.smtp_port, timeout=10) as smtp:
        smtp.send_message(message)


def test_a_mail_is_accepted_once_and_every_offer_is_counted_through_kill_9(mail: MailSink) -> None:
    for name in ("a", "b", "a"):
        offer(mail, name)
    mail.kill()
    mail.start()
    offer(mail, "b")
    assert mail.totals() == (2, 4)
    first, second = mail.messages(orderId="order-1", customerId="anna")
    assert (first["messageId"], first["offered"], second["offered"]) == (
        "a@orderflow.localhost",
        2,
        2,
    )
    assert (first["to"], first["subject"]) == (["anna@customers.localhost"], "Hello a")
    assert first["text"] == "Hello,\n\n.\n\nüber\n"
    assert mail.messages(orderId="order-2") == []


def test_it_refuses_whom_it_is_told_to_refuse_for_now_or_for_good(mail: MailSink) -> None:
    mail.faults(
        temporaryFor=["bert@customers.localhost"], permanentFor=["carl@customers.localhost"]
    )
    offer(mail, "a")
    for name, code in (("bert", 451), ("carl", 550)):
        with pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
            offer(mail, name, to=f"{name}@customers.localhost")
        assert [answer[0] for answer in refused.value.recipients.values()] == [code]
    mail.faults(temporary=1.0)
    with pytest.raises(smtplib.SMTPRecipientsRefused):
        offer(mail, "b")
    mail.faults()
    offer(mail, "bert", to="bert@customers.localhost")
    assert mail.totals() == (2, 2)


def test_a_lost_reply_is_of_a_mail_that_was_accepted(mail: MailSink) -> None:
    mail.faults(replyLost=1.0)
    with pytest.raises((smtplib.SMTPServerDisconnected, ConnectionResetError)):
        offer(mail, "a")
    mail.faults()
    offer(mail, "a")
    assert mail.totals() == (1, 2)


def shown(mail: MailSink, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "orderflow.cli.main", "mail", *arguments],
        env={**os.environ, "ORDERFLOW_STACK__PORTS__MAIL_API": str(mail.port)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_command_shows_what_was_accepted_and_how_often_it_came(mail: MailSink) -> None:
    for name in ("a", "a", "b"):
        offer(mail, name)
    lines = json.loads(shown(mail, "--order", "order-1", "--json").stdout)
    assert [(line["messageId"].partition("@")[0], line["offered"]) for line in lines] == [
        ("a", 2),
        ("b", 1),
    ]
    text = shown(mail).stdout
    for part in (
        "anna@customers.localhost",
        "Hello a",
        "offered 2 times",
        "Message-ID b@orderflow.localhost",
        "über",
    ):
        assert part in text
    assert shown(mail, "--order", "order-2").stdout == ""
    assert json.loads(shown(mail, "--order", "order-2", "--json").stdout) == []
    mail.kill()
    away = shown(mail)
    assert (away.returncode, away.stdout) == (1, "")
    assert "did not answer" in away.stderr
    assert "orderflow up" in away.stderr


def test_the_command_shows_the_last_mails_or_all_and_follows_those_that_arrive(
    mail: MailSink,
) -> None:
    names = [f"m{number}" for number in range(22)]
    for name in names:
        offer(mail, name)

    def ids(*options: str) -> list[str]:
        answer = json.loads(shown(mail, "--json", *options).stdout)
        return [each["messageId"].partition("@")[0] for each in answer]

    assert ids() == names[-20:]
    assert ids("--last", "2") == names[-2:]
    assert ids("--all") == names

    command = [sys.executable, "-m", "orderflow.cli.main", "mail", "-f", "--json", "-n", "1"]
    with subprocess.Popen(
        command,
        env={**os.environ, "ORDERFLOW_STACK__PORTS__MAIL_API": str(mail.port)},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["messageId"].startswith("m21@")
        offer(mail, "new")
        assert json.loads(process.stdout.readline())["messageId"].startswith("new@")
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0


def test_what_it_does_not_know_is_refused_and_a_stop_is_no_failure(mail: MailSink) -> None:
    assert mail.client.put("/faults", json={"temporary": 2}).status_code == 422
    assert mail.client.get("/messages", params={"cursor": "x"}).status_code == 422
    assert mail.client.get("/nothing").status_code == 404
    assert mail.popen is not None
    mail.popen.terminate()
    assert mail.popen.wait(10) == 0
