"""
Trace contexts as texts: W3C Trace Context's `traceparent`, version 00.

A span's id is derived from what the span is about (an event, and who does what with it), not drawn.
Whoever continues a trace knows the id without meeting the span, and a repetition after a crash is
the same span again: a record's `traceparent` names the span of its sending, however often it is
sent.
"""

from __future__ import annotations

import re
from hashlib import blake2b
from random import getrandbits

import msgspec

SPAN_ID_BYTES = 8
_TRACEPARENT = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})")
_LENGTH = 55
_SAMPLED = frozenset("13579bdf")
_RATIO_BITS = 56
"""The random part of a trace id that the decision rests on: its last 7 bytes (W3C, level 2)."""


class TraceContext(msgspec.Struct, frozen=True, gc=False):
    """A span's place: its trace and its id, in hexadecimal, and the trace's flags."""

    trace_id: str
    span_id: str
    flags: str

    @classmethod
    def parse(cls, traceparent: str | None) -> TraceContext | None:
        """The context that a text stands for; None if it is not well-formed."""
        match = _TRACEPARENT.fullmatch(traceparent or "")
        return None if match is None else cls(*match.groups())

    @property
    def sampled(self) -> bool:
        return self.flags[-1] in _SAMPLED

    def at(self, span_id: str) -> TraceContext:
        """Another span of the same trace."""
        return TraceContext(self.trace_id, span_id, self.flags)

    def __str__(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-{self.flags}"


def sampled(traceparent: str | None) -> TraceContext | None:
    """The context of a trace whose spans are wanted; None for any other text."""
    # First what costs nothing: most texts end here while tracing is off.
    if traceparent is None or len(traceparent) != _LENGTH or traceparent[-1] not in _SAMPLED:
        return None
    return TraceContext.parse(traceparent)


def derived_span_id(what: str, *about: str) -> str:
    """The id of the span that does `what` (a word) about these ids."""
    return blake2b("/".join((what, *about)).encode(), digest_size=SPAN_ID_BYTES).hexdigest()


def send_span_id(event_id: str) -> str:
    """The id of the span that sends an event: what a record's `traceparent` names."""
    return derived_span_id("send", event_id)


def process_span_id(group: str, event_id: str) -> str:
    """The id of the span in which a group processes an event."""
    return derived_span_id("process", group, event_id)


def dead_letter_span_id(group: str, event_id: str, replays: int) -> str:
    """The id of the span that sends an event to the group's dead letters, after so many replays."""
    return derived_span_id("dead letter", group, event_id, str(replays))


def new_trace(*, ratio: float, given: str | None = None) -> TraceContext:
    """
    The first span of a trace, where it begins; `given` is what the client sent.

    The client's trace is continued if its text is well-formed. Whether spans are wanted is decided
    here and nowhere else: for `ratio` of all traces, by their ids, whatever the client says.
    """
    parent = TraceContext.parse(given)
    trace_id = parent.trace_id if parent else f"{getrandbits(128) or 1:032x}"
    threshold = int(ratio * (1 << _RATIO_BITS))
    wanted = int(trace_id[-_RATIO_BITS // 4 :], 16) < threshold
    return TraceContext(trace_id, new_span_id(), "01" if wanted else "00")


def new_span_id() -> str:
    """An id for a span that nothing but its own process refers to."""
    return f"{getrandbits(64) or 1:016x}"
