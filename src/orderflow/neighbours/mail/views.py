"""What the mail sink answers over HTTP."""

from __future__ import annotations

from datetime import datetime

import msgspec


class MessageView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """`offered`: how often its Message-ID came; all but the first were dropped."""

    number: int
    at: datetime
    message_id: str
    sender: str
    to: tuple[str, ...]
    subject: str
    text: str
    order_id: str
    customer_id: str
    offered: int


class MessagePage(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    items: tuple[MessageView, ...]
    next_cursor: str | None


class Totals(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    accepted: int
    offered: int
