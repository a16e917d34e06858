"""
A line for each command that came over HTTP: which, about which order, and how it was answered.

Nothing of what the client sent is in it but ids: no header, body or text.
"""

from __future__ import annotations

import asyncio

from msgspec import UNSET, UnsetType

from orderflow.messaging.telemetry import LogLine, wanted, write_lines
from orderflow.messaging.telemetry.trace_context import TraceContext

LOGGER = "command"


class CommandLine(LogLine, kw_only=True, gc=False):
    """`customer_id` of an order that was placed; ids are missing where there are none."""

    message: str = "command answered"
    logger: str = LOGGER
    command: str
    status: int
    order_id: str | UnsetType = UNSET
    customer_id: str | UnsetType = UNSET
    trace_id: str | UnsetType = UNSET
    span_id: str | UnsetType = UNSET

    def __str__(self) -> str:
        order = "an order" if self.order_id is UNSET else f"order {self.order_id}"
        return f"{self.command} {order}: answered {self.status}"


class CommandLog:
    """
    Writes the lines of one event loop. Commands that were committed together are answered in one
    round of the loop: their lines are one write.
    """

    def __init__(self) -> None:
        self._lines: list[LogLine] = []

    def add(
        self,
        command: str,
        status: int,
        *,
        order_id: str | UnsetType = UNSET,
        customer_id: str | UnsetType = UNSET,
        traceparent: str | None = None,
    ) -> None:
        """Add a line; to be called on the event loop, once the answer is known."""
        if not wanted("info"):
            return
        if not self._lines:
            asyncio.get_running_loop().call_soon(self._write)
        line = CommandLine(
            command=command, status=status, order_id=order_id, customer_id=customer_id
        )
        trace = TraceContext.parse(traceparent) if traceparent else None
        if trace is not None:
            line.trace_id, line.span_id = trace.trace_id, trace.span_id
        self._lines.append(line)

    def _write(self) -> None:
        lines, self._lines = self._lines, []
        write_lines(lines)
