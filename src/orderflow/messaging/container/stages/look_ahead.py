"""
What is queued behind a record is shown to the listener before the record's effect is intended: it
may say that the effect is not wanted any more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice

from orderflow.messaging.container.records.record import Record
from orderflow.messaging.container.stages.intake import Intake
from orderflow.messaging.errors import Transient
from orderflow.messaging.listener import Received
from orderflow.messaging.work.gate import Gate

SHOWN_MAX = 32
"""Records behind a head that are shown; those behind them are shown when they have come near."""


class Ahead:
    """Shows the records that are queued behind others to a listener that looks ahead."""

    def __init__(
        self,
        look_ahead: Callable[[Sequence[Received]], None],
        *,
        intake: Intake,
        decode_gate: Gate,
    ) -> None:
        self._look_ahead = look_ahead
        self._intake = intake
        self._decode_gate = decode_gate

    def show(self, batch: Sequence[Record]) -> None:
        """Show what is behind the heads in `batch`. Raises what the listener raises."""
        behind = [
            record
            for head in batch
            if len(head.lane) > 1
            for record in islice(head.lane, 1, 1 + SHOWN_MAX)
            if not record.progress.shown
        ]
        if not behind:
            return

        readable = [record for record in behind if self._is_readable(record)]
        received = [
            record.progress.received for record in readable if record.progress.received is not None
        ]
        if received:
            self._look_ahead(received)
        for record in readable:
            record.progress.shown = True

    def _is_readable(self, record: Record) -> bool:
        """Read it, unless the registry is needed and away: then it is shown another time."""
        if self._decode_gate.is_probing and self._intake.needs_registry(record):
            return False
        try:
            self._intake.peek(record)
        except Transient as error:
            self._decode_gate.failed(error)
            return False
        return True
