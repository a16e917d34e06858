"""What a replay or discard has to do: which letters of which logs, in which order."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice

import msgspec

from orderflow.messaging.dead_letters.letter_index import HeldLetter, LetterIndex, Selection
from orderflow.messaging.dead_letters.letter_log import Decided, LetterLog, LetterLogs
from orderflow.messaging.dead_letters.letter_place import LetterId
from orderflow.messaging.dead_letters.letters import Letter, LetterFilter
from orderflow.messaging.dead_letters.replay_plan import (
    SHOWN_MAX,
    Held,
    PlannedLetter,
    ReplayPlan,
)
from orderflow.messaging.kafka.group_topics import replay_topic_name


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """
    What becomes of the letters that are meant. `max_letters`: of at most so many (None: of all).

    Replay: `replays_max` parks, `keep_order` holds what would overtake. Discard: neither.
    `parked_at`: what the filter calls parked.
    """

    letter_filter: LetterFilter
    is_replay: bool
    max_letters: int | None = None
    replays_max: int
    parked_at: int
    keep_order: bool = True


class LogWork(msgspec.Struct, frozen=True):
    """The letters of one log, by offset in their order."""

    log: LetterLog
    offsets: array[int]

    @property
    def target(self) -> str:
        """The topic of the copies."""
        return replay_topic_name(self.log.topic, self.log.group)


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """The letters to be dealt with, by log; those that are meant and held, with the reason."""

    parts: list[LogWork]
    decided: Decided
    held: Counter[Held]
    shown: list[PlannedLetter]
    beyond_max: int

    @property
    def total(self) -> int:
        return sum(len(part.offsets) for part in self.parts)


def find_work(logs: LetterLogs, rules: Rules) -> Work:
    """Read all letters of the logs that are meant. Nothing is changed."""
    meant = rules.letter_filter
    letter_logs = logs.find(meant)
    decided = logs.decided(letter_logs)
    left = rules.max_letters
    parts: list[LogWork] = []
    held: Counter[Held] = Counter()
    shown: list[PlannedLetter] = []
    beyond_max = 0
    missing = set(meant.ids or ())

    for log in letter_logs:
        selection = _select(logs, log, decided, rules, missing)
        offsets = selection.offsets if left is None else selection.offsets[:left]
        beyond_max += len(selection.offsets) - len(offsets)
        left = None if left is None else left - len(offsets)
        if offsets:
            parts.append(LogWork(log, offsets))

        held += selection.held
        shown += _shown(logs, log, decided, selection.shown[: SHOWN_MAX - len(shown)])

    held[Held.GONE] += len(missing)
    gone = sorted(missing)[: SHOWN_MAX - len(shown)]
    shown += [PlannedLetter(id=it, held=Held.GONE, why=_WHY[Held.GONE]) for it in gone]
    return Work(parts=parts, decided=decided, held=+held, shown=shown, beyond_max=beyond_max)


def _select(
    logs: LetterLogs, log: LetterLog, decided: Decided, rules: Rules, missing: set[LetterId]
) -> Selection:
    """The letters of one log; those that are there are taken out of `missing`."""
    meant = rules.letter_filter
    index = LetterIndex(replays_max=rules.replays_max)
    dealt_with: list[HeldLetter] = []
    to_discard = array("q")

    for letter in logs.letters(log, decided):
        missing.discard(letter.id)
        is_meant = meant.takes(letter, replays_max=rules.parked_at)
        if not letter.is_open:
            # Only by name: who means all letters means those that are open.
            if is_meant and meant.ids is not None:
                dealt_with.append(HeldLetter(letter.id.offset, Held.DEALT_WITH))
        elif rules.is_replay:
            index.add(letter, is_meant=is_meant)
        elif is_meant:
            to_discard.append(letter.id.offset)

    if not rules.is_replay:
        return Selection(to_discard, Counter({Held.DEALT_WITH: len(dealt_with)}), dealt_with)
    selection = index.select(keep_order=rules.keep_order)
    selection.held[Held.DEALT_WITH] = len(dealt_with)
    return Selection(selection.offsets, selection.held, [*dealt_with, *selection.shown])


def plan_of(logs: LetterLogs, work: Work, *, dispositions: str) -> ReplayPlan:
    """The work as people see it, with the first 1,000 letters that are to be sent."""
    wanted = {dispositions, *(part.target for part in work.parts)}
    letters = islice(_to_be_sent(logs, work), SHOWN_MAX)
    to_send = Counter[str]()
    for part in work.parts:
        to_send[part.target] += len(part.offsets)

    return ReplayPlan(
        to_send=dict(to_send),
        held=dict(work.held),
        beyond_max=work.beyond_max,
        missing=tuple(sorted(wanted - logs.logs.partitions(wanted).keys())),
        letters=(*letters, *work.shown),
    )


def held_letter(
    letter: Letter, held: Held, *, older: LetterId | None = None, why: str = ""
) -> PlannedLetter:
    """A letter that is not sent, with the reason in words: `why`, else the usual ones."""
    disposition = letter.disposition
    usual = _WHY[held].format(
        replays=letter.evidence.replays,
        parts=" and ".join(letter.evidence.cut),
        older=older,
        done=disposition.kind.lower() if disposition else "",
        by=disposition.by if disposition else "",
    )

    return PlannedLetter(
        id=letter.id,
        held=held,
        why=why or usual,
        older=older,
        replays=letter.evidence.replays,
        key=letter.key,
        evidence=letter.evidence,
    )


_WHY = {
    Held.PARKED: "parked: it was replayed {replays} times and failed again",
    Held.CUT: "its {parts} was cut to fit: it is evidence only, send the original again or discard",
    Held.FOREIGN: "it has no evidence: no listener wrote it, or its headers can't be read",
    Held.OLDER_OPEN: "it would overtake {older}, an older letter of its key that stays open",
    Held.DEALT_WITH: "it is {done} already, by {by}",
    Held.GONE: "there is no such letter, or retention has deleted it",
    Held.REFUSED: "the broker refuses its copy",
}


def _to_be_sent(logs: LetterLogs, work: Work) -> Iterator[PlannedLetter]:
    for part in work.parts:
        for offset in part.offsets:
            letter = logs.letter_at(part.log, offset, work.decided)
            if letter is not None:
                yield PlannedLetter(
                    id=letter.id,
                    to=part.target,
                    replays=letter.evidence.replays,
                    key=letter.key,
                    evidence=letter.evidence,
                )


def _shown(
    logs: LetterLogs, log: LetterLog, decided: Decided, held: Sequence[HeldLetter]
) -> Iterator[PlannedLetter]:
    for entry in held:
        letter = logs.letter_at(log, entry.offset, decided)
        if letter is not None:
            older = None if entry.older is None else LetterId(*log.place, entry.older)
            yield held_letter(letter, entry.held, older=older)
