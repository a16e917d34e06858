"""
What a replay would send, and why not the rest. Pure.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from orderflow.messaging.dead_letters.evidence import LetterEvidence
from orderflow.messaging.dead_letters.letter_place import LetterId

SHOWN_MAX = 1_000
"""Of the letters in a plan or report: the others are only counted."""


class Held(StrEnum):
    """Why a letter that was meant is not sent."""

    PARKED = "PARKED"
    """It was replayed as often as allowed, and failed each time."""
    CUT = "CUT"
    """It was too large to be kept whole: it is evidence, and no record any more."""
    OLDER_OPEN = "OLDER_OPEN"
    """An older letter of its key is open and stays behind: it would overtake that one."""
    FOREIGN = "FOREIGN"
    """It has no evidence: no listener wrote it, or its headers can't be read."""
    DEALT_WITH = "DEALT_WITH"
    """It was replayed or discarded before."""
    GONE = "GONE"
    """There is no such letter, or none any more."""
    REFUSED = "REFUSED"
    """The broker refuses its copy for good."""


class PlannedLetter(msgspec.Struct, frozen=True, kw_only=True):
    """
    What is to happen to one letter: sent to `to`, or held, with the reason in words (`why`).

    `older`: the letter that it would overtake. `replays`: how often it was sent back before.
    """

    id: LetterId
    to: str | None = None
    held: Held | None = None
    why: str = ""
    older: LetterId | None = None
    replays: int = 0
    key: bytes | None = None
    evidence: LetterEvidence = LetterEvidence()


class ReplayPlan(msgspec.Struct, frozen=True, kw_only=True):
    """
    What a replay would do now: nothing is reserved, another one may come first.

    `to_send`: how many letters, by replay topic. `held`: how many not, by why. `beyond_max`: how
    many more would be sent without the limit of this replay. `letters`: the first 1,000 of those to
    be sent, in the order in which they would be, then the first 1,000 of those held.
    """

    to_send: dict[str, int] = {}
    held: dict[Held, int] = {}
    beyond_max: int = 0
    missing: tuple[str, ...] = ()
    letters: tuple[PlannedLetter, ...] = ()

    @property
    def total(self) -> int:
        return sum(self.to_send.values())


class DeskProgress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a replay or discard is: `done` of `total` letters are committed."""

    done: int
    total: int


class DeskReport(msgspec.Struct, frozen=True, kw_only=True):
    """
    What a replay or discard did: everything counted in `done` is committed, nothing else happened.

    `by_topic`: the letters that were dealt with, by replay topic (discard: by dead-letter topic).
    `held`, `letters`: what was not, and why, as in a plan. `stopped`: `stop` ended it early, and
    `left` letters were not reached. `undone`: of how many letters the brokers undid the commit that
    they had acknowledged; these are open again, and not in `done`.
    """

    done: int = 0
    by_topic: dict[str, int] = {}
    held: dict[Held, int] = {}
    beyond_max: int = 0
    letters: tuple[PlannedLetter, ...] = ()
    transactions: int = 0
    stopped: bool = False
    left: int = 0
    undone: int = 0
