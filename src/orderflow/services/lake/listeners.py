"""What the lake exporter listens to, and what writes it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from orderflow.contracts import NAMESPACE
from orderflow.contracts.events import PaymentFailed, PaymentRefunded, PaymentSucceeded
from orderflow.contracts.topics import PAYMENTS
from orderflow.messaging.listener import IdempotentWrite, Listener, Received


def _nowhere(_batch: Sequence[Received]) -> None:
    raise NotImplementedError("where the lake is, is a setting: see `writing`")


LISTENER = Listener(
    name="lake",
    group="lake-exporter",
    source="/orderflow/lake",
    namespace=NAMESPACE,
    topics=(PAYMENTS,),
    handles=(PaymentSucceeded, PaymentFailed, PaymentRefunded),
    delivery=IdempotentWrite(handler=_nowhere),
)
"""As documents show it. It runs `writing` to its store."""


def writing(
    handler: Callable[[Sequence[Received]], None], *, flush_records: int, flush_s: float
) -> Listener:
    """The listener as it runs."""
    delivery = IdempotentWrite(handler=handler, gather_records=flush_records, gather_s=flush_s)
    return msgspec.structs.replace(LISTENER, delivery=delivery)
