"""
A letter as a mail: always the same bytes, ASCII, and nothing in it can become a header or an end.
"""

from __future__ import annotations

from email import message_from_bytes
from email.policy import default

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.services.notification.test_model import letter

from orderflow.contracts.ids import CustomerId, OrderId
from orderflow.services.notification.config import SmtpSettings
from orderflow.services.notification.mail import compose, recipient
from orderflow.services.notification.smtp import dotted

SETTINGS = SmtpSettings()
LETTER = letter("customer-123", "1")
ANY = st.text(min_size=1, max_size=100)


def test_a_mail_says_who_to_whom_what_and_under_which_id() -> None:
    mail = message_from_bytes(compose(LETTER, SETTINGS), policy=default)
    assert mail["From"] == "Orderflow <orders@orderflow.localhost>"
    assert mail["To"] == "customer-123@customers.localhost"
    assert mail["Message-ID"] == f"<{LETTER.notification_id}@orderflow.localhost>"
    assert mail["Date"] == "Sat, 31 Jan 2026 09:05:00 +0000"
    assert mail["X-Orderflow-Customer-Id"] == "customer-123"


def test_another_try_is_the_same_mail_to_the_byte() -> None:
    assert compose(LETTER, SETTINGS) == compose(
        msgspec.structs.replace(LETTER, attempts=7), SETTINGS
    )


def test_an_id_that_can_stand_in_an_address_does_and_another_is_escaped_or_replaced() -> None:
    assert recipient("anna.b-1", SETTINGS) == "anna.b-1@customers.localhost"
    assert recipient("a@b c.", SETTINGS) == "a=40b=20c=2E@customers.localhost"
    assert recipient("ä", SETTINGS) == "=C3=A4@customers.localhost"
    assert len(recipient("x" * 200, SETTINGS).partition("@")[0]) == 32


@settings(deadline=None, max_examples=60)
@given(subject=ANY, text=ANY, customer=ANY, order=ANY)
def test_whatever_an_event_says_the_mail_is_one_mail(
    subject: str, text: str, customer: str, order: str
) -> None:
    odd = msgspec.structs.replace(
        LETTER,
        subject=subject,
        text=text + "\n",
        customer_id=CustomerId(customer),
        order_id=OrderId(order),
    )
    data = dotted(compose(odd, SETTINGS))
    lines = data.split(b"\r\n")
    assert lines[-2:] == [b".", b""]
    assert b"." not in lines[:-2]
    assert all(
        len(line) <= 998 and line.isascii() and b"\n" not in line and b"\r" not in line
        for line in lines
    )
    undotted = (
        b"\r\n".join(line[1:] if line.startswith(b".") else line for line in lines[:-2]) + b"\r\n"
    )
    mail = message_from_bytes(undotted, policy=default)
    assert len(mail.keys()) == 11
    payload = mail.get_payload(decode=True)
    assert isinstance(payload, bytes)
    assert payload.decode().replace("\r\n", "\n") == f"{text}\n".replace("\r\n", "\n")
    address = recipient(customer, SETTINGS)
    assert address.isascii()
    assert address.isprintable()
    assert len(address.partition("@")[0]) <= 64
    assert " " not in address


@settings(deadline=None)
@given(first=ANY, second=ANY)
def test_no_two_customers_share_an_address(first: str, second: str) -> None:
    assert (recipient(first, SETTINGS) == recipient(second, SETTINGS)) == (first == second)
