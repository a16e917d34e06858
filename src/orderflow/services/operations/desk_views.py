"""The JSON bodies about dead letters."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec

from orderflow.messaging.dead_letters.dispositions import Disposition, DispositionKind
from orderflow.messaging.dead_letters.evidence import LetterEvidence
from orderflow.messaging.dead_letters.letters import (
    TEXT_SHOWN_MAX,
    Letter,
    LetterBalance,
    LetterGroup,
)
from orderflow.messaging.dead_letters.payload import Payload
from orderflow.messaging.dead_letters.replay_plan import (
    DeskReport,
    Held,
    PlannedLetter,
    ReplayPlan,
)
from orderflow.messaging.documents.openapi import ProblemDocument

HEX_BYTES_MAX = 65_536
"""Of a payload that can't be decoded; its whole size stands beside it."""


class LetterState(StrEnum):
    """PARKED is open too: replayed as often as allowed, and failed each time."""

    OPEN = "OPEN"
    PARKED = "PARKED"
    REPLAYED = "REPLAYED"
    DISCARDED = "DISCARDED"
    OTHER = "OTHER"


class DispositionView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What became of the letter, who decided it, and why. `replayedTo`: the topic of the copy."""

    kind: DispositionKind
    by: str
    reason: str
    at: datetime
    replays: int
    replayed_to: str | None


class LetterView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """
    A dead letter. `id`: its place, `<dead-letter topic>/<partition>/<offset>`. `key`: as text, or
    as 0x… if it is none. `cause`: the failure's class, and its cause's. `attempts` 0: it never
    reached the handler. `replays`: how often it was sent back before.
    """

    id: str
    state: LetterState
    group: str
    topic: str
    type: str | None
    cause: str
    message: str | None
    order_id: str | None
    key: str | None
    written_at: datetime
    attempts: int | None
    replays: int
    size: int
    disposition: DispositionView | None


class LetterPage(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    items: tuple[LetterView, ...]
    next_cursor: str | None


class EvidenceView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """
    Why the group gave the record up, and where the record was then; null: not said, or not
    readable. `task`, `stage`, `stageClass`: of Kafka Connect, what it was doing with the record;
    then `group` is the connector, and `attempts` null. `cut`: which of its parts are not whole;
    then the whole ones' size and SHA-256 are beside it.
    """

    original_topic: str | None
    original_partition: int | None
    original_offset: int | None
    original_timestamp: datetime | None
    group: str | None
    exception_type: str | None
    cause_type: str | None
    message: str | None
    stack_trace: str | None
    attempts: int | None
    first_failure: datetime | None
    last_failure: datetime | None
    task: str | None
    stage: str | None
    stage_class: str | None
    replays: int
    replay_topic: str | None
    replay_partition: int | None
    replay_offset: int | None
    cut: tuple[str, ...]
    original_size: int | None
    original_sha256: str | None = msgspec.field(name="originalSha256")
    event_id: str | None
    event_type: str | None
    order_id: str | None


class PayloadView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """
    The record's value. `event`: its fields, if it could be decoded; else `problem` says where that
    stopped, and `hex` has its first 64 KiB of `size` bytes. A null value is `size` null.
    """

    type: str | None
    event: dict[str, Any] | None
    problem: str | None
    hex: str | None
    size: int | None


class HeaderView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A header of the record's own, as text, or as 0x… if it is none."""

    name: str
    value: str | None


class PlannedView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """
    What happens to a letter: it is sent to the topic `to`, or `held` for the reason `why`. `older`:
    the letter of its key that it would overtake.
    """

    id: str
    to: str | None
    held: Held | None
    why: str
    older: str | None


class LetterDetail(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """`replay`: what a replay would do now; null if the letter is not open."""

    letter: LetterView
    evidence: EvidenceView
    payload: PayloadView
    headers: tuple[HeaderView, ...]
    replay: PlannedView | None


class LetterGroupView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """
    Letters that have group, topic, event type and cause in common. `parked` and `cut` of them are
    not sent as they are. `message`: what the failure of the first of them said.
    """

    group: str
    topic: str
    type: str
    cause: str
    letters: int
    parked: int
    cut: int
    oldest: datetime
    newest: datetime
    orders: int
    examples_of_orders: tuple[str, ...]
    first_letter: str
    message: str


class BalanceView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """
    What came in and what became of it. `difference`: letters that are neither dealt with nor open;
    0, always.
    """

    group: str
    letters: int
    replayed: int
    discarded: int
    other: int
    open: int
    expired: int
    deleted_offsets: int
    difference: int


class LetterSummary(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The largest groups first; `leftOut`: how many more there are. `balance` is of all letters."""

    items: tuple[LetterGroupView, ...]
    left_out: int
    balance: tuple[BalanceView, ...]


class DeskAnswer(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """
    What was done; with `dryRun`, what would be. `done` letters, `byTopic`: where they went, or from
    which topic they were discarded. `held`: how many were not, by reason. `beyondMax`: how many
    more fit. `stopped`: time was over, and `left` letters are as they were: send the same again.
    `letters`: the first of each.
    """

    dry_run: bool
    done: int
    by_topic: Mapping[str, int]
    held: Mapping[Held, int]
    beyond_max: int
    stopped: bool
    left: int
    letters: tuple[PlannedView, ...]


class NothingDone(ProblemDocument, kw_only=True, omit_defaults=True):
    """409: none of the letters that were meant; `letters` says why, each by its id."""

    held: Mapping[Held, int] = {}
    letters: tuple[PlannedView, ...] = ()


def state_of(letter: Letter) -> LetterState:
    if letter.disposition is not None:
        return LetterState(letter.disposition.kind.value)
    return LetterState.PARKED if letter.is_parked() else LetterState.OPEN


def letter_view(letter: Letter) -> LetterView:
    evidence = letter.evidence

    return LetterView(
        id=str(letter.id),
        state=state_of(letter),
        group=letter.group,
        topic=letter.topic,
        type=evidence.event_type,
        cause=evidence.cause[:TEXT_SHOWN_MAX],
        message=None if evidence.message is None else evidence.message[:TEXT_SHOWN_MAX],
        order_id=evidence.order_id,
        key=text_of(letter.key),
        written_at=letter.written_at,
        attempts=evidence.attempts,
        replays=evidence.replays,
        size=letter.size,
        disposition=_disposition(letter.disposition),
    )


def letter_detail(letter: Letter, payload: Payload, plan: ReplayPlan | None) -> LetterDetail:
    planned = next((row for row in plan.letters if row.id == letter.id), None) if plan else None
    return LetterDetail(
        letter=letter_view(letter),
        evidence=_evidence(letter.evidence),
        payload=_payload(letter.value, payload),
        headers=tuple(
            HeaderView(name=name, value=text_of(value)) for name, value in letter.headers
        ),
        replay=None if planned is None else planned_view(planned),
    )


def summary_view(
    groups: list[LetterGroup], balances: list[LetterBalance], *, limit: int
) -> LetterSummary:
    return LetterSummary(
        items=tuple(_group(group) for group in groups[:limit]),
        left_out=max(0, len(groups) - limit),
        balance=tuple(
            BalanceView(
                group=row.group,
                letters=row.letters,
                replayed=row.replayed,
                discarded=row.discarded,
                other=row.other,
                open=row.open,
                expired=row.expired,
                deleted_offsets=row.deleted_offsets,
                difference=row.difference,
            )
            for row in balances
        ),
    )


def plan_answer(plan: ReplayPlan) -> DeskAnswer:
    return DeskAnswer(
        dry_run=True,
        done=plan.total,
        by_topic=plan.to_send,
        held=plan.held,
        beyond_max=plan.beyond_max,
        stopped=False,
        left=0,
        letters=tuple(planned_view(row) for row in plan.letters),
    )


def report_answer(report: DeskReport) -> DeskAnswer:
    return DeskAnswer(
        dry_run=False,
        done=report.done,
        by_topic=report.by_topic,
        held=report.held,
        beyond_max=report.beyond_max,
        stopped=report.stopped,
        left=report.left,
        letters=tuple(planned_view(row) for row in report.letters),
    )


def planned_view(planned: PlannedLetter) -> PlannedView:
    return PlannedView(
        id=str(planned.id),
        to=planned.to,
        held=planned.held,
        why=planned.why,
        older=None if planned.older is None else str(planned.older),
    )


def text_of(raw: bytes | None) -> str | None:
    """As text, or as 0x… if it is none."""
    if raw is None:
        return None
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return f"0x{raw.hex()}"
    return f"0x{raw.hex()}" if "\0" in text else text


def _disposition(disposition: Disposition | None) -> DispositionView | None:
    if disposition is None:
        return None
    return DispositionView(
        kind=disposition.kind,
        by=disposition.by,
        reason=disposition.reason,
        at=disposition.at,
        replays=disposition.replays,
        replayed_to=disposition.replayed_to,
    )


def _evidence(evidence: LetterEvidence) -> EvidenceView:
    return msgspec.convert(evidence, EvidenceView, from_attributes=True)


def _payload(raw: bytes | None, payload: Payload) -> PayloadView:
    undecoded = raw is not None and payload.value is None
    return PayloadView(
        type=payload.type,
        event=payload.value,
        problem=payload.problem,
        hex=raw[:HEX_BYTES_MAX].hex() if raw is not None and undecoded else None,
        size=None if raw is None else len(raw),
    )


def _group(group: LetterGroup) -> LetterGroupView:
    return LetterGroupView(
        group=group.group,
        topic=group.topic,
        type=group.type,
        cause=group.cause,
        letters=group.letters,
        parked=group.parked,
        cut=group.cut,
        oldest=group.oldest,
        newest=group.newest,
        orders=group.orders,
        examples_of_orders=group.examples_of_orders,
        first_letter=str(group.first_letter),
        message=group.message,
    )
