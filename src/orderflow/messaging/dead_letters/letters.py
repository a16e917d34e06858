"""Dead letters as the desk shows them: one, many by what they have in common, and their balance."""

from __future__ import annotations

from datetime import datetime

import msgspec

from orderflow.messaging.dead_letters.dispositions import Disposition
from orderflow.messaging.dead_letters.evidence import LetterEvidence, short_name
from orderflow.messaging.dead_letters.letter_place import LetterId
from orderflow.messaging.errors import ConfigurationError

REPLAYS_MAX = 3
"""After so many replays that failed again a letter is *parked*: somebody has to look at it first"""

IDS_MAX = 10_000
EXAMPLES_MAX = 5
TEXT_SHOWN_MAX = 200
"""Of a text of strangers, in characters, where many letters are put together."""


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """
    One dead letter. `key`, `value` and `headers` are the record's own, whatever their content;
    `all_headers` are those of the letter, evidence included, as they are.

    `group`, `topic`: whose letter it is and which topic the record came from, as the name of the
    dead-letter topic says; what the headers say is in `evidence`. `size`: of the whole letter, in
    bytes. `disposition`: None while the letter is open.
    """

    id: LetterId
    group: str
    topic: str
    evidence: LetterEvidence
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]
    all_headers: list[tuple[str, bytes | None]]
    written_at: datetime
    size: int
    disposition: Disposition | None = None

    @property
    def is_open(self) -> bool:
        return self.disposition is None

    def is_parked(self, replays_max: int = REPLAYS_MAX) -> bool:
        """Whether it was replayed as often as allowed, and failed each time."""
        return self.evidence.replays >= replays_max


class LetterFilter(msgspec.Struct, frozen=True, kw_only=True):
    """
    Which letters are meant: those that fit everything that is not None.

    `group`: a consumer group. `topic`: where the records came from, or a dead-letter topic. `type`:
    of the event, with or without its namespace. `cause`: class of the failure or of its cause, with
    or without its module. `key`: the record's, exactly. `order_id`: the event's correlation id,
    subject, or key. `since` (inclusive), `until` (exclusive): when the letter was written, aware.
    `ids`: at most 10,000 letters, else ConfigurationError. `parked`: only those that are parked, or
    only those that are not.
    """

    group: str | None = None
    topic: str | None = None
    type: str | None = None
    cause: str | None = None
    key: bytes | None = None
    order_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    ids: frozenset[LetterId] | None = None
    parked: bool | None = None

    def __post_init__(self) -> None:
        if self.ids is not None and len(self.ids) > IDS_MAX:
            raise ConfigurationError(
                f"{len(self.ids)} letters by name are too many: at most {IDS_MAX} at a time"
            )

    def takes_log(self, group: str, topic: str, dead_letter_topic: str) -> bool:
        """Whether letters of this dead-letter topic can fit; the others need not be read."""
        return (
            self.group in (None, group)
            and self.topic in (None, topic, dead_letter_topic)
            and (self.ids is None or any(it.topic == dead_letter_topic for it in self.ids))
        )

    def takes(self, letter: Letter, *, replays_max: int = REPLAYS_MAX) -> bool:
        """Whether this letter is meant, whatever has become of it."""
        evidence = letter.evidence

        return (
            self.takes_log(letter.group, letter.topic, letter.id.topic)
            and (self.ids is None or letter.id in self.ids)
            and (self.type is None or _is_named(self.type, evidence.event_type))
            and (
                self.cause is None
                or _is_named(self.cause, evidence.exception_type)
                or _is_named(self.cause, evidence.cause_type)
            )
            and self.key in (None, letter.key)
            and (
                self.order_id is None
                or self.order_id == evidence.order_id
                or self.order_id.encode() == letter.key
            )
            and (self.since is None or letter.written_at >= self.since)
            and (self.until is None or letter.written_at < self.until)
            and self.parked in (None, letter.is_parked(replays_max))
        )


ANY = LetterFilter()


def _is_named(name: str, full_name: str | None) -> bool:
    return full_name is not None and name.lower() in (
        full_name.lower(),
        short_name(full_name).lower(),
    )


class LetterGroup(msgspec.Struct, frozen=True, kw_only=True):
    """
    Letters that have group, topic, event type and cause in common.

    `letters`: how many; `parked`, `cut` of them can't be replayed as they are. `orders`: how many
    different ones, exact up to 100,000 in one summary; `examples_of_orders`: the first five.
    `first_letter`: the oldest one, `message`: what its failure said.
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
    first_letter: LetterId
    message: str


class LetterBalance(msgspec.Struct, frozen=True, kw_only=True):
    """
    What came in and what became of it, of one group, over the letters that are retained.

    `letters` and `open` are counted on the dead-letter topics, the others on the dispositions: so
    `difference` is not 0 if a disposition names a letter that is not there, or a letter is counted
    twice. `expired` of the dispositions are of letters that retention has deleted since; of
    `deleted_offsets`, which retention has deleted, at most the rest were letters that nobody dealt
    with.
    """

    group: str
    letters: int = 0
    replayed: int = 0
    discarded: int = 0
    other: int = 0
    open: int = 0
    expired: int = 0
    deleted_offsets: int = 0

    @property
    def difference(self) -> int:
        """Letters that are neither dealt with nor open; 0, always."""
        return self.letters - self.replayed - self.discarded - self.other - self.open
