"""The mails that the sink accepted, each Message-ID once; on disk before they are answered."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import msgspec

from orderflow.neighbours.journal import Journal
from orderflow.neighbours.mail.content import read_mail


class Mail(msgspec.Struct, frozen=True):
    """One mail as it was handed over: its envelope and its bytes."""

    sender: str
    recipients: tuple[str, ...]
    content: bytes


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
        self.accepted: list[Accepted] = []
        self.offered_in_all = 0
        self._offered: dict[str, int] = {}
        self._of_order: defaultdict[str, list[Accepted]] = defaultdict(list)
        self._of_customer: defaultdict[str, list[Accepted]] = defaultdict(list)
        for line in self._journal.read():
            self._enter(line)

    def take(self, mails: Sequence[Mail]) -> list[bool]:
        """
        Keep each mail, or count it if its Message-ID is known; returns which were new.

        All in one write, which is done when this returns. Raises OSError when it was not: then
        none of them counts.
        """
        lines: list[Line] = []
        ids: set[str] = set()
        number = len(self.accepted)
        for mail in mails:
            line = self._judged(mail, number + 1, ids)
            lines.append(line)
            ids.add(line.message_id)
            number += isinstance(line, Accepted)

        self._journal.append(*lines)
        for line in lines:
            self._enter(line)
        return [isinstance(line, Accepted) for line in lines]

    def offered(self, message_id: str) -> int:
        """How often: 1 for a mail that was never repeated."""
        return self._offered[message_id]

    def find(self, *, order_id: str, customer_id: str) -> list[Accepted]:
        """The mails of an order, of a customer, of both, or all; in the order of acceptance."""
        if order_id:
            of_order = self._of_order.get(order_id, [])
            return [mail for mail in of_order if customer_id in ("", mail.customer_id)]
        return self._of_customer.get(customer_id, []) if customer_id else self.accepted

    def close(self) -> None:
        self._journal.close()

    def _judged(self, mail: Mail, number: int, before: set[str]) -> Line:
        """`before`: the Message-IDs that came with this one, and are not entered yet."""
        read = read_mail(mail.content)
        message_id = read.message_id or str(uuid4())
        if message_id in self._offered or message_id in before:
            return Repeated(at=datetime.now(UTC), message_id=message_id)

        return Accepted(
            number=number,
            at=datetime.now(UTC),
            message_id=message_id,
            sender=mail.sender,
            to=mail.recipients,
            subject=read.subject,
            text=read.text,
            order_id=read.order_id,
            customer_id=read.customer_id,
        )

    def _enter(self, line: Line) -> None:
        self._offered[line.message_id] = self._offered.get(line.message_id, 0) + 1
        self.offered_in_all += 1
        if isinstance(line, Accepted):
            self.accepted.append(line)
            self._of_order[line.order_id].append(line)
            self._of_customer[line.customer_id].append(line)
