"""What is read of a plain mail without the library is what the library reads of it."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.services.notification.test_model import letter

from orderflow.contracts.ids import CustomerId, OrderId
from orderflow.neighbours.mail.content import read_any, read_plain
from orderflow.services.notification.config import SmtpSettings
from orderflow.services.notification.mail import compose

PLAIN = letter("customer-123", "1")
ANY = st.text(min_size=1, max_size=60)
NAMES = st.sampled_from(
    ["Subject", "subject", "Message-ID", "X-Orderflow-Order-Id", "Content-Type", "Odd", "O dd"]
)
VALUES = st.sampled_from(
    ["a", " <a@b> ", "text/plain", "text/html", "=?utf-8?b?YQ==?=", "x\r\n y", "", "\tb", "a: b"]
)


def test_our_own_mails_are_plain() -> None:
    read = read_plain(compose(PLAIN, SmtpSettings()))
    assert read is not None
    assert (read.customer_id, read.text) == ("customer-123", PLAIN.text)


@given(subject=ANY, text=ANY, customer=ANY, order=ANY)
def test_our_mails_are_read_alike(subject: str, text: str, customer: str, order: str) -> None:
    odd = msgspec.structs.replace(
        PLAIN,
        subject=subject,
        text=text + "\n",
        customer_id=CustomerId(customer),
        order_id=OrderId(order),
    )
    mail = compose(odd, SmtpSettings())
    assert read_plain(mail) in (None, read_any(mail))


@given(headers=st.lists(st.tuples(NAMES, VALUES), max_size=5), body=st.text("ab\r\n.=? ü"))
def test_other_mails_are_read_alike(headers: list[tuple[str, str]], body: str) -> None:
    head = "".join(f"{name}: {value}\r\n" for name, value in headers)
    mail = f"{head}\r\n{body}".encode()
    assert read_plain(mail) in (None, read_any(mail))
