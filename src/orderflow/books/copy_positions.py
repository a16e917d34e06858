"""How far the group has come that fills a copy, and what its dead letters are of an account."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from orderflow.books.accounts import CopyLetters, TopicEvent
from orderflow.books.positions import Mark, Positions, Progress
from orderflow.books.store import REPLAYED, BooksStore, LetterRow
from orderflow.contracts.topics import PAYMENTS
from orderflow.messaging.errors import Transient, Unavailable, plain
from orderflow.messaging.kafka.finished_offsets import Window
from orderflow.messaging.kafka.group_topics import replay_topic_name
from orderflow.messaging.kafka.logs import Logs
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
        self._positions = Positions(kafka, (group,), {})
        self._logs = Logs(kafka)
        self._store = store

    def mark(self) -> Mark:
        return self._positions.mark()

    def progress(self) -> Progress:
        return self._positions.progress()

    def close(self) -> None:
        self._positions.close()

    def since(self) -> dict[int, int]:
        """
        By partition the first offset that must be in the copy, once the group has committed there.

        A group may begin when retention has deleted much. It began where the log did, which was not
        after where the log begins when the books see its first commit: that is remembered.
        """
        known = {
            partition: int(cursor)
            for partition in range(self._logs.partitions([PAYMENTS.name]).get(PAYMENTS.name, 0))
            if (cursor := self._store.cursor(self._cursor(partition)))
        }
        committed = [
            place
            for place in self.progress().groups[self.group]
            if place[0] == PAYMENTS.name and place[1] not in known
        ]
        if committed:
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


def waits_for_copy(
    group: str,
    mark: Mark,
    progress: Progress,
    events: Iterable[TopicEvent],
    letters: CopyLetters,
) -> str:
    """
    For whom an account waits until all of its events have had their effects; "" for nobody. Pure.

    Only its own events count: the copy has nothing else to do with it. What was sent back waits
    until the replay topic is read.
    """
    windows: Mapping[tuple[str, int], Window] = progress.groups[group]
    nothing = Window(0)
    left = sum(
        not windows.get((event.topic, event.partition), nothing).is_finished(event.offset)
        for event in events
        if event.event_id not in letters.open and event.event_id not in letters.discarded
    )
    if letters.sent_back:
        replays = replay_topic_name(PAYMENTS.name, group)
        for place, end in mark.ends.items():
            if place[0] == replays:
                window = windows.get(place, nothing)
                left += max(0, end - window.end) + len(window.unfinished)
    return f"{group}, {left:,} to go" if left else ""


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
