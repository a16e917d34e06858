"""The balance of a group's dead letters: those that came, and what became of them."""

from __future__ import annotations

from collections import Counter

from orderflow.messaging.dead_letters.dispositions import DispositionKind
from orderflow.messaging.dead_letters.letter_log import Decided, LetterLog, LetterLogs
from orderflow.messaging.dead_letters.letters import LetterBalance, LetterFilter
from orderflow.messaging.errors import Unavailable

TRIES_MAX = 3


def balances(logs: LetterLogs) -> list[LetterBalance]:
    """
    The balance of each group that has a dead-letter topic, by name. Reads all letters.

    Raises Unavailable if retention deletes letters while they are counted, each time.
    """
    for _ in range(TRIES_MAX):
        its_logs = logs.find(LetterFilter())
        decided = logs.decided(its_logs)
        parts = [_of_log(log, decided, *_counted(logs, log, decided)) for log in its_logs]
        # A letter that went meanwhile has a disposition in the books and no letter any more.
        firsts = logs.logs.firsts(log.place for log in its_logs)
        if all(firsts[log.place] == log.first for log in its_logs):
            break
    else:
        raise Unavailable(
            "dead letters are being deleted while they are counted", resource="broker"
        )

    groups = sorted({part.group for part in parts})
    return [_sum(group, [part for part in parts if part.group == group]) for group in groups]


def _counted(logs: LetterLogs, log: LetterLog, decided: Decided) -> tuple[int, int]:
    """How many letters there are, and how many of them nobody has decided about."""
    letters = are_open = 0
    for letter in logs.letters(log, decided):
        letters += 1
        are_open += letter.is_open
    return letters, are_open


def _of_log(log: LetterLog, decided: Decided, letters: int, are_open: int) -> LetterBalance:
    # Counted on their own side: one that names no letter is a difference.
    kinds = Counter(
        disposition.kind
        for offset, disposition in decided.dispositions.get(log.place, {}).items()
        if offset < log.end
    )

    return LetterBalance(
        group=log.group,
        letters=letters,
        replayed=kinds[DispositionKind.REPLAYED],
        discarded=kinds[DispositionKind.DISCARDED],
        other=kinds[DispositionKind.OTHER],
        open=are_open,
        expired=decided.expired.get(log.place, 0),
        deleted_offsets=log.first,
    )


def _sum(group: str, parts: list[LetterBalance]) -> LetterBalance:
    return LetterBalance(
        group=group,
        letters=sum(part.letters for part in parts),
        replayed=sum(part.replayed for part in parts),
        discarded=sum(part.discarded for part in parts),
        other=sum(part.other for part in parts),
        open=sum(part.open for part in parts),
        expired=sum(part.expired for part in parts),
        deleted_offsets=sum(part.deleted_offsets for part in parts),
    )
