"""How far the group has come that fills a copy, and what its dead letters are of an account."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Protocol, TypeVar

from orderflow.books.accounts import CopyLetters, TopicEvent
from orderflow.books.positions import Positions
from orderflow.books.store import REPLAYED, BooksStore, LetterRow
from orderflow.contracts.topics import PAYMENTS
from orderflow.messaging.errors import Transient, Unavailable, plain
from orderflow.messaging.kafka.finished_offsets import Window
from orderflow.messaging.kafka.group_topics import replay_topic_name
from orderflow.messaging.kafka.lag import lags
from orderflow.messaging.kafka.logs import Logs
from orderflow.messaging.kafka.place import Place
from orderflow.messaging.settings import KafkaSettings

FIRST = "first"
"""A cursor of the store, by group and partition."""


class CopyAway(Unavailable):
    """A copy can't be asked now: it is not compared, and all else is."""


@contextmanager
def away_is_said(copy: str) -> Iterator[None]:
    """Raises CopyAway for whatever keeps the copy itself from answering."""
    try:
        yield
    except Transient as error:
        raise CopyAway(str(error), resource=copy, reason=plain(error)) from error


class CopyPositions:
    """
    The group `group`, which reads `payments` and its replays alone. Not thread-safe.

    Its offsets are committed after what they stand for is in the copy: so what is below them must
    be there, and what is above may be. Raises Unavailable when the cluster can't be asked.
    """

    def __init__(self, kafka: KafkaSettings, group: str, store: BooksStore) -> None:
        self.group = group
        self._kafka = kafka
        self._positions = Positions(kafka, (group,), {})
        self._logs = Logs(kafka)
        self._store = store

    def windows(self) -> Mapping[Place, Window]:
        """What the group has finished, by the partitions on which it has committed."""
        return self._positions.progress().groups[self.group]

    def replays_left(self) -> int:
        """How many copies of dead letters it has still to read."""
        replays = {self.group: (replay_topic_name(PAYMENTS.name, self.group),)}
        # Connect never passes the marker behind the last record.
        behind = lags(self._kafka, replays, stop_before_markers=(self.group,))
        return sum(lag.records for lag in behind)

    def close(self) -> None:
        self._positions.close()

    def since(self) -> dict[int, int]:
        """
        By partition the first offset that must be in the copy, once the group has committed there.

        A group may begin when retention has deleted much. It began where the log did, which was not
        after where the log begins when the books see its first commit: that is remembered.
        """
        partitions = {number for topic, number in self._store.positions() if topic == PAYMENTS.name}
        known = {
            partition: int(cursor)
            for partition in partitions
            if (cursor := self._store.cursor(self._cursor(partition)))
        }
        if known.keys() == partitions:
            return known

        committed = [
            place for place in self.windows() if place[0] == PAYMENTS.name and place[1] not in known
        ]
        for (_, partition), first in self._logs.firsts(committed).items():
            self._store.set_cursor(self._cursor(partition), str(first))
            known[partition] = first
        return known

    def letters(self, order_ids: Sequence[str]) -> dict[str, CopyLetters]:
        """The group's dead letters of these orders."""
        return {
            order_id: _of_group(rows, self.group)
            for order_id, rows in self._store.letters(order_ids).items()
        }

    def _cursor(self, partition: int) -> str:
        return f"{FIRST} {self.group} {partition}"


class _Waiting(Protocol):
    @property
    def letters(self) -> CopyLetters: ...

    @property
    def own_events(self) -> Sequence[TopicEvent]: ...


W = TypeVar("W", bound=_Waiting)


def waits_for_copy(positions: CopyPositions, accounts: Mapping[str, W]) -> dict[str, str]:
    """By key, for whom an account still waits; left out: nobody."""
    windows = positions.windows()
    was_sent_back = any(account.letters.sent_back for account in accounts.values())
    replays_left = positions.replays_left() if was_sent_back else 0
    left = {
        key: left_for_copy(windows, account.own_events, account.letters, replays_left=replays_left)
        for key, account in accounts.items()
    }
    return {key: f"{positions.group}, {count:,} to go" for key, count in left.items() if count}


def left_for_copy(
    windows: Mapping[Place, Window],
    events: Iterable[TopicEvent],
    letters: CopyLetters,
    *,
    replays_left: int = 0,
) -> int:
    """
    How many records of an account the group has still to finish. Pure.

    Only its own events count: the copy has nothing else to do with it. What was sent back waits
    until all replays are read.
    """
    nothing = Window(0)
    left = sum(
        not windows.get((event.topic, event.partition), nothing).is_finished(event.offset)
        for event in events
        if event.event_id not in letters.open and event.event_id not in letters.discarded
    )
    return left + (replays_left if letters.sent_back else 0)


def _of_group(rows: Sequence[LetterRow], group: str) -> CopyLetters:
    own = [row for row in rows if row.letter.group == group]
    opened = {row.letter.event_id: row.letter.name for row in own if not row.disposition}
    sent_back = {row.letter.event_id for row in own if row.disposition == REPLAYED}
    discarded = {row.letter.event_id for row in own if row.disposition not in ("", REPLAYED)}
    # Of two letters of one record, which a worker that dies may write, one may be laid aside.
    return CopyLetters(
        open=opened,
        discarded=frozenset(discarded - opened.keys() - sent_back),
        sent_back=frozenset(sent_back - opened.keys()),
    )


def of_letters(letters: Iterable[CopyLetters]) -> CopyLetters:
    """The letters of several orders as one."""
    opened: dict[str, str] = {}
    discarded: set[str] = set()
    sent_back: set[str] = set()
    for each in letters:
        opened |= each.open
        discarded |= each.discarded
        sent_back |= each.sent_back
    return CopyLetters(open=opened, discarded=frozenset(discarded), sent_back=frozenset(sent_back))
