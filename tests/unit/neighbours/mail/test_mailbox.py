"""
The sink's mailbox: each Message-ID once, however often it comes, and after another start as well.
"""

from __future__ import annotations

from pathlib import Path

from orderflow.neighbours.mail.mailbox import Mail, Mailbox

MAIL = (
    b"From: Orderflow <orders@orderflow.localhost>\r\nSubject: %s\r\n"
    b"Message-ID: <%s@orderflow.localhost>\r\n"
    b"X-Orderflow-Order-Id: order%%201\r\nX-Orderflow-Customer-Id: anna\r\n"
    b"Content-Type: text/plain; charset=utf-8\r\n\r\nHello,\r\n\r\n.that was all\r\n"
)


def take(mailbox: Mailbox, name: bytes, subject: bytes = b"Hello") -> bool:
    mail = Mail("orders@orderflow.localhost", ("anna@customers.localhost",), MAIL % (subject, name))
    [is_new] = mailbox.take([mail])
    return is_new


def test_a_message_id_is_accepted_once_and_its_repeats_are_counted(tmp_path: Path) -> None:
    mailbox = Mailbox(tmp_path)
    assert [take(mailbox, name) for name in (b"a", b"b", b"a", b"a")] == [True, True, False, False]
    assert [(one.number, one.message_id) for one in mailbox.accepted] == [
        (1, "a@orderflow.localhost"),
        (2, "b@orderflow.localhost"),
    ]
    assert mailbox.offered("a@orderflow.localhost") == 3
    assert mailbox.offered_in_all == 4


def test_another_start_finds_what_was_kept_and_what_was_counted(tmp_path: Path) -> None:
    first = Mailbox(tmp_path)
    for name in (b"a", b"b", b"a"):
        take(first, name)
    again = Mailbox(tmp_path)
    assert again.accepted == first.accepted
    assert again.offered_in_all == 3
    assert not take(again, b"b")


def test_a_mail_is_found_by_order_and_by_customer_and_can_be_read(tmp_path: Path) -> None:
    mailbox = Mailbox(tmp_path)
    take(mailbox, b"a", b"=?utf-8?b?R3LDvMOfZQ==?=")
    [found] = mailbox.find(order_id="order 1", customer_id="anna")
    assert (found.subject, found.text) == ("Grüße", "Hello,\n\n.that was all\n")
    assert mailbox.find(order_id="", customer_id="anna") == [found]
    assert mailbox.find(order_id="", customer_id="bert") == []
    assert mailbox.find(order_id="order 1", customer_id="bert") == []
    assert mailbox.find(order_id="", customer_id="") == [found]


def test_a_mail_without_a_message_id_is_always_new(tmp_path: Path) -> None:
    mail = Mail("a@b", ("c@d",), b"Subject: x\r\n\r\ny\r\n")
    assert Mailbox(tmp_path).take([mail, mail]) == [True, True]


def test_mails_that_come_together_are_judged_one_after_the_other(tmp_path: Path) -> None:
    first, second = (Mail("a@b", ("c@d",), MAIL % (b"x", name)) for name in (b"a", b"b"))
    mailbox = Mailbox(tmp_path)
    assert mailbox.take([first, second, first]) == [True, True, False]
    assert [mail.number for mail in mailbox.accepted] == [1, 2]
    assert mailbox.offered_in_all == 3
    assert Mailbox(tmp_path).accepted == mailbox.accepted
