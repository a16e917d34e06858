"""
How the provider misbehaves, so that its clients must not.

| fault | what the client sees | what happened |
|---|---|---|
| `dropped` | the connection is reset | nothing |
| `reply_lost` | the connection is reset | it was done |
| `error_after_commit` | 500 | it was done |
| `slow` | no answer within its time-out | it is done later |
"""

from __future__ import annotations

import random
from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta

from orderflow.neighbours.psp.ledger import Token

Rate = Annotated[float, Meta(ge=0, le=1)]
Seconds = Annotated[float, Meta(ge=0, le=600)]


class Fault(StrEnum):
    NONE = ""
    DROPPED = "dropped"
    REPLY_LOST = "reply_lost"
    ERROR_AFTER_COMMIT = "error_after_commit"
    SLOW = "slow"


class Faults(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Rates of all POSTs. A slow call takes `slow_s` and every call `latency_s`."""

    reply_lost: Rate = 0.0
    dropped: Rate = 0.0
    error_after_commit: Rate = 0.0
    slow: Rate = 0.0
    slow_s: Seconds = 5.0
    latency_s: Seconds = 0.0

    def draw(self, chance: random.Random) -> Fault:
        point = chance.random()
        for fault, rate in (
            (Fault.REPLY_LOST, self.reply_lost),
            (Fault.DROPPED, self.dropped),
            (Fault.ERROR_AFTER_COMMIT, self.error_after_commit),
            (Fault.SLOW, self.slow),
        ):
            if point < rate:
                return fault
            point -= rate
        return Fault.NONE


BY_TOKEN = {
    Token.SLOW: Fault.SLOW,
    Token.REPLY_LOST: Fault.REPLY_LOST,
    Token.DROPPED: Fault.DROPPED,
    Token.ERROR_AFTER_COMMIT: Fault.ERROR_AFTER_COMMIT,
}
"""What a test token does at the first charge under a reference."""
