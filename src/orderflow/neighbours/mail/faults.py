"""
How the mail sink misbehaves, so that its clients must not.

| fault | what the client sees | what happened |
|---|---|---|
| `temporary`, `temporary_for` | 451 to RCPT | nothing |
| `permanent_for` | 550 to RCPT | nothing |
| `reply_lost` | the connection ends after the mail's last line | it was accepted |
| `latency_s` | every mail takes as long | it was accepted |
"""

from __future__ import annotations

import random
from typing import Annotated

import msgspec
from msgspec import Meta

Rate = Annotated[float, Meta(ge=0, le=1)]
Seconds = Annotated[float, Meta(ge=0, le=600)]

TAKEN = "250 2.1.5 OK"
TEMPORARY = "451 4.3.0 not now: try again later"
PERMANENT = "550 5.1.1 no such mailbox"


class Faults(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Rates of all mails, and addresses that are always refused."""

    temporary: Rate = 0.0
    temporary_for: frozenset[str] = frozenset()
    permanent_for: frozenset[str] = frozenset()
    reply_lost: Rate = 0.0
    latency_s: Seconds = 0.0

    def answer_to(self, recipient: str, chance: random.Random) -> str:
        """The answer to RCPT."""
        if recipient in self.permanent_for:
            return PERMANENT
        if recipient in self.temporary_for or chance.random() < self.temporary:
            return TEMPORARY
        return TAKEN
