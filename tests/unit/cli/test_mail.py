"""`orderflow mail`: a mail as a person reads it, within 80 columns."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from orderflow.cli.mail import Mail, _shown

ORDER = "01a22471-6453-716d-a40b-8562707a6662"
MAIL = Mail(
    number=1,
    at=datetime(2026, 11, 28, 23, 15, 41, 90_584, tzinfo=UTC),
    message_id="ab0add75-461b-5922-8c2a-6f8b710ee9f1@orderflow.localhost",
    to=("ada@customers.localhost",),
    subject=f"Your order {ORDER} was received",
    text="Hello,\r\n\r\nThank you: we have your order.\r\n\r\nOrderflow\r\n",
    order_id=ORDER,
    customer_id="ada",
    offered=1,
)


def lines(**changes: Any) -> list[str]:
    return _shown(msgspec.structs.replace(MAIL, **changes)).plain.splitlines()


def test_a_mail_fits_80_columns_and_has_its_orders_id_once() -> None:
    assert lines() == [
        "2026-11-28 23:15:41.090  ada@customers.localhost",
        "  Your order …8562707a6662 was received",
        "  Message-ID ab0add75-461b-5922-8c2a-6f8b710ee9f1@orderflow.localhost",
        "  Hello,",
        "  Thank you: we have your order.",
        "  Orderflow",
    ]


@pytest.mark.parametrize(
    ("changes", "first", "second"),
    [
        ({"subject": "Hello"}, "  order …8562707a6662", "Hello"),
        ({"subject": "Hello", "order_id": ""}, "", "Hello"),
        ({"order_id": "order-1", "subject": "About order-1"}, "", "About order-1"),
        ({"offered": 2}, "  offered 2 times, kept once", "Your order …8562707a6662 was received"),
    ],
)
def test_the_order_is_named_wherever_it_stands(
    changes: dict[str, Any], first: str, second: str
) -> None:
    top, subject, *_ = lines(**changes)
    assert top == f"2026-11-28 23:15:41.090  ada@customers.localhost{first}"
    assert subject == f"  {second}"
