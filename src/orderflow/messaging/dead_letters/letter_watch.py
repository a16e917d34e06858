"""How many dead letters are open on a cluster, counted by reading them, and then what comes."""

from __future__ import annotations

from collections.abc import Mapping

from orderflow.messaging.dead_letters.open_letters import OpenCount, OpenLetters
from orderflow.messaging.kafka.catch_up import CatchUp
from orderflow.messaging.kafka.group_topics import is_dead_letter_topic
from orderflow.messaging.kafka.place import Place
from orderflow.messaging.kafka.survey import Log
from orderflow.messaging.settings import KafkaSettings

READ_WITHIN_S = 2.0


class LetterWatch:
    """
    Reads dead-letter topics, and `dispositions`, the topic that says which letters are dealt with.

    Not thread-safe.
    """

    def __init__(self, settings: KafkaSettings, *, dispositions: str) -> None:
        self._dispositions_topic = dispositions
        self._letters, self._dispositions = CatchUp(settings), CatchUp(settings)
        self._open = OpenLetters()
        self.is_complete = False
        """Whether the counts are those of all that was there once: not before all was read once."""

    def look(self, logs: Mapping[Place, Log]) -> dict[str, OpenCount]:
        """
        The open letters by dead-letter topic, after at most 4 s of reading; those that were not
        read yet are not in it. Raises Unavailable when the cluster can't be reached.
        """
        letters = {place: log for place, log in logs.items() if is_dead_letter_topic(place[0])}
        self._turn_to(letters, logs)
        for place, log in letters.items():
            self._open.forget_below(place, log.first)

        for letter in self._letters.read(within_s=READ_WITHIN_S):
            self._open.add_letter(letter.place, letter.offset, letter.written_s)
        # First all letters: dispositions are kept for ever, and most are of letters long deleted.
        if self._letters.has_read_all():
            for record in self._dispositions.read(within_s=READ_WITHIN_S):
                self._open.add_disposition(record.key, is_there=record.has_value)
            self.is_complete = self.is_complete or self._dispositions.has_read_all()

        return self._open.by_topic(letters)

    def close(self) -> None:
        self._letters.close()
        self._dispositions.close()

    def _turn_to(self, letters: Mapping[Place, Log], logs: Mapping[Place, Log]) -> None:
        dispositions = {
            place: log for place, log in logs.items() if place[0] == self._dispositions_topic
        }
        if self._dispositions.turn_to(dispositions):
            # Another topic has its name: what the old one said of letters no longer counts.
            self._letters.turn_to({})
            self._open = OpenLetters()
        for place in self._letters.turn_to(letters):
            self._open.forget(place)
