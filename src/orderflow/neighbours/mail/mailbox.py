"""The mails that the sink accepted, each Message-ID once; on disk before they are answered."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from email.message import Message
from email.parser import BytesParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from uuid import uuid4

import msgspec

from orderflow.neighbours.journal import Journal

MESSAGE_ID = "Message-ID"
ORDER_ID = "X-Orderflow-Order-Id"
CUSTOMER_ID = "X-Orderflow-Customer-Id"
"""By these two headers a mail can be found again; their values are percent-encoded."""


class Accepted(msgspec.Struct, frozen=True, kw_only=True, rename="camel", tag="accepted", gc=False):
    """`number` counts from 1, in the order of acceptance; `message_id` is without brackets."""

    number: int
    at: datetime
    message_id: str
    sender: str
    to: tuple[str, ...]
    subject: str
    text: str
    order_id: str = ""
    customer_id: str = ""


class Repeated(msgspec.Struct, frozen=True, kw_only=True, rename="camel", tag="repeated"):
    """A Message-ID that was there already."""

    at: datetime
    message_id: str


Line = Accepted | Repeated


class Mailbox:
    """All state of the sink. On the event loop alone: nothing else runs between two awaits."""

    def __init__(self, directory: Path) -> None:
        file = directory / "mail.jsonl"
        self._journal: Journal[Line] = Journal(file, Line)  # type: ignore[arg-type]
        self._parser = BytesParser()
        self.accepted: list[Accepted] = []
        self._offered: dict[str, int] = {}
        self._of_order: defaultdict[str, list[Accepted]] = defaultdict(list)
        self._of_customer: defaultdict[str, list[Accepted]] = defaultdict(list)
        for line in self._journal.read():
            self._enter(line)

    def take(self, sender: str, recipients: list[str], content: bytes) -> bool:
        """Keep the mail, or count it if its Message-ID is known; returns whether it was new."""
        line = self._judged(sender, recipients, self._parser.parsebytes(content))
        self._journal.append(line)
        self._enter(line)
        return isinstance(line, Accepted)

    def offered(self, message_id: str) -> int:
        """How often: 1 for a mail that was never repeated."""
        return self._offered[message_id]

    @property
    def offered_in_all(self) -> int:
        return sum(self._offered.values())

    def find(self, *, order_id: str, customer_id: str) -> list[Accepted]:
        """The mails of an order, of a customer, of both, or all; in the order of acceptance."""
        if order_id:
            of_order = self._of_order.get(order_id, [])
            return [mail for mail in of_order if customer_id in ("", mail.customer_id)]
        return self._of_customer.get(customer_id, []) if customer_id else self.accepted

    def close(self) -> None:
        self._journal.close()

    def _judged(self, sender: str, recipients: list[str], mail: Message) -> Line:
        message_id = _header(mail, MESSAGE_ID).strip("<> ") or str(uuid4())
        if message_id in self._offered:
            return Repeated(at=datetime.now(UTC), message_id=message_id)

        return Accepted(
            number=len(self.accepted) + 1,
            at=datetime.now(UTC),
            message_id=message_id,
            sender=sender,
            to=tuple(recipients),
            subject=_header(mail, "Subject"),
            text=_text(mail),
            order_id=unquote(_header(mail, ORDER_ID)),
            customer_id=unquote(_header(mail, CUSTOMER_ID)),
        )

    def _enter(self, line: Line) -> None:
        self._offered[line.message_id] = self._offered.get(line.message_id, 0) + 1
        if isinstance(line, Accepted):
            self.accepted.append(line)
            self._of_order[line.order_id].append(line)
            self._of_customer[line.customer_id].append(line)


def _header(mail: Message, name: str) -> str:
    value = str(mail.get(name, "")).strip()
    try:
        return str(make_header(decode_header(value))) if "=?" in value else value
    except (LookupError, UnicodeError, HeaderParseError):
        # A mail is accepted with headers that can't be decoded, too.
        return value


def _text(mail: Message) -> str:
    part = next((part for part in mail.walk() if part.get_content_type() == "text/plain"), None)
    payload: Any = part.get_payload(decode=True) if part is not None else None
    return (
        payload.decode("utf-8", errors="replace").replace("\r\n", "\n")
        if isinstance(payload, bytes)
        else ""
    )
