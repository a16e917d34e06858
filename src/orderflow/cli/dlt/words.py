"""A dead letter in a few words. Whatever strangers wrote is on one line and harmless. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from orderflow.cli.output import printable
from orderflow.messaging.dead_letters.evidence import LetterEvidence, short_name

MESSAGE_MAX = 240
"""Of the failure's message, in characters, where it stands among other things."""


def evidence_line(evidence: LetterEvidence) -> str:
    """
    `orders-0@54 · group payment-service · Poison: the record has no ce_id header · 1 attempt`: of
    these parts those that the headers say.
    """
    return " · ".join(_parts(evidence))


def original_place(evidence: LetterEvidence) -> str | None:
    """Where the record failed first: `orders-0@54`; None if the headers do not say."""
    return _place(evidence.original_topic, evidence.original_partition, evidence.original_offset)


def replayed_place(evidence: LetterEvidence) -> str | None:
    """Where the record was when it failed again; None if it was not replayed before."""
    return _place(evidence.replay_topic, evidence.replay_partition, evidence.replay_offset)


def failure(evidence: LetterEvidence, *, message_max: int | None = MESSAGE_MAX) -> str:
    """`Poison ← KeyError: the record has no ce_id header`."""
    message = shortened(evidence.message or "", message_max)
    return f"{printable(evidence.cause)}: {message}" if message else printable(evidence.cause)


def times(count: int, noun: str) -> str:
    """`1 attempt`, `2 attempts`."""
    return f"{count:,} {noun}{'s' if count != 1 else ''}"


def attempts(evidence: LetterEvidence) -> str:
    if evidence.attempts is None and evidence.stage is not None:
        return "Connect does not count attempts"
    if evidence.attempts is None:
        return "attempts not known"
    if not evidence.attempts:
        return "no attempt: it never reached its handler"
    return times(evidence.attempts, "attempt")


def shortened(text: str, most: int | None) -> str:
    """On one line, and no longer than that."""
    line = printable(" ".join(text.split()))
    return line if most is None or len(line) <= most else f"{line[: most - 1]}…"


def _parts(evidence: LetterEvidence) -> Iterator[str]:
    if place := original_place(evidence):
        yield place
    if evidence.group:
        yield f"group {shortened(evidence.group, MESSAGE_MAX)}"
    if evidence.exception_type:
        name = printable(short_name(evidence.exception_type))
        message = shortened(evidence.message or "", MESSAGE_MAX)
        yield f"{name}: {message}" if message else name
        yield attempts(evidence)

    if evidence.replays:
        yield f"sent back {times(evidence.replays, 'time')}"
    if evidence.cut:
        yield f"cut to fit: {shortened(', '.join(evidence.cut), MESSAGE_MAX)}"


def _place(topic: str | None, partition: int | None, offset: int | None) -> str | None:
    if topic is None or partition is None or offset is None:
        return None
    return f"{shortened(topic, MESSAGE_MAX)}-{partition}@{offset}"
