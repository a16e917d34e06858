"""
The desk: reads the dead letters of a cluster, sends them back, or lays them aside.

Guarantees:

- A letter is in exactly one state: open, replayed or discarded. A replay puts the copy on the
  group's replay topic and the disposition on its topic in one Kafka transaction: both or neither,
  through kill -9 at any line.
- A letter is replayed once, whoever tries: one fixed transactional id is the desk's, so a second
  desk fences the first, and what was decided is read to its end after that and before anything is
  sent. A commit whose outcome is unknown is looked up in the dispositions, never sent again.
- The copy has the record's own key, value and headers, so its event id too. It is for the letter's
  group alone, on `<topic>.<group>.replay`, and says where the record was first and how often it was
  replayed.
- Copies of one key are sent in the order of their originals, and none is sent while an older letter
  of its key stays behind open, unless that is asked for.

Letters are read as a stream: in memory are some MiB of them, about 100 bytes for each that somebody
has dealt with, and during a replay 170 bytes for each open one of the topic that is at work. Every
function raises Unavailable when the cluster can't be reached, ConfigurationError when it refuses
what is asked of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from orderflow.messaging.dead_letters.balance import balances
from orderflow.messaging.dead_letters.desk_session import DeskSession
from orderflow.messaging.dead_letters.desk_work import Rules, find_work, plan_of
from orderflow.messaging.dead_letters.letter_log import LetterLogs
from orderflow.messaging.dead_letters.letter_place import LetterId
from orderflow.messaging.dead_letters.letters import (
    ANY,
    REPLAYS_MAX,
    Letter,
    LetterBalance,
    LetterFilter,
    LetterGroup,
)
from orderflow.messaging.dead_letters.replay_plan import DeskProgress, DeskReport, ReplayPlan
from orderflow.messaging.dead_letters.summary import summarize
from orderflow.messaging.errors import NEUTRAL, ConfigurationError, OperatorCommands
from orderflow.messaging.settings import KafkaSettings


class LetterGone(ConfigurationError):
    """There is no such letter: retention has deleted it, or it never was."""


def _say_nothing(_progress: DeskProgress) -> None: ...


def _go_on() -> bool:
    return False


class Desk:
    """
    The dead letters of `groups` (source topics by consumer group). Not thread-safe; holds no
    connection between calls.

    `dispositions`: the topic of what was decided. `replays_max`: a letter that was replayed so
    often is parked.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        groups: Mapping[str, Sequence[str]],
        dispositions: str,
        *,
        replays_max: int = REPLAYS_MAX,
        commands: OperatorCommands = NEUTRAL,
    ) -> None:
        self._settings = settings
        self._groups = groups
        self._dispositions_topic = dispositions
        self._replays_max = replays_max
        self._commands = commands

    def _logs(self) -> LetterLogs:
        return LetterLogs(self._settings, self._groups, self._dispositions_topic)

    def letters(
        self, letter_filter: LetterFilter = ANY, *, include_closed: bool = False
    ) -> Iterator[Letter]:
        """
        The letters that fit, by dead-letter topic, partition and offset, as far as they were
        committed when this began. Without `include_closed`: those that are open.

        Close the iterator when leaving early. A dead-letter topic that does not exist has none.
        """
        with self._logs() as logs:
            its_logs = logs.find(letter_filter)
            decided = logs.decided(its_logs)

            for log in its_logs:
                for letter in logs.letters(log, decided):
                    if letter_filter.takes(letter, replays_max=self._replays_max) and (
                        include_closed or letter.is_open
                    ):
                        yield letter

    def summary(
        self, letter_filter: LetterFilter = ANY, *, include_closed: bool = False
    ) -> list[LetterGroup]:
        """The letters that fit, by group, topic, event type and cause: the largest first."""
        return summarize(
            self.letters(letter_filter, include_closed=include_closed),
            replays_max=self._replays_max,
        )

    def find(self, letter_id: LetterId) -> Letter:
        """One letter, open or not. Raises LetterGone, whose message says which of both it is."""
        with self._logs() as logs:
            log = next(
                (
                    log
                    for log in logs.find(LetterFilter(ids=frozenset((letter_id,))))
                    if log.place == letter_id.place
                ),
                None,
            )
            if log is None:
                raise LetterGone(
                    f"there is no letter {letter_id}: {letter_id.topic} is no dead-letter topic of "
                    "this cluster, or has no such partition"
                )
            if letter_id.offset < log.first:
                raise LetterGone(
                    f"there is no letter {letter_id} any more: retention has deleted all below "
                    f"offset {log.first}"
                )

            letter = (
                logs.letter_at(log, letter_id.offset, logs.decided([log]))
                if letter_id.offset < log.end
                else None
            )
            if letter is None:
                raise LetterGone(
                    f"there is no letter {letter_id}: the topic has none at this offset"
                )
            return letter

    def balance(self) -> list[LetterBalance]:
        """The balance of each group, by name. Reads all letters that are retained."""
        with self._logs() as logs:
            return balances(logs)

    def plan_replay(
        self,
        letter_filter: LetterFilter = ANY,
        *,
        max_letters: int | None = None,
        replays_max: int | None = None,
        keep_order: bool = True,
    ) -> ReplayPlan:
        """
        What `replay` with the same arguments would do now. Changes nothing, fences nobody.

        `max_letters`: send at most so many (None: all). `replays_max`: instead of the desk's.
        `keep_order` False: a letter may overtake an older one of its key that stays behind.
        """
        rules = self._replay_rules(letter_filter, max_letters, replays_max, keep_order=keep_order)
        with self._logs() as logs:
            work = find_work(logs, rules)
            return plan_of(logs, work, dispositions=self._dispositions_topic)

    def replay(
        self,
        letter_filter: LetterFilter,
        *,
        by: str,
        reason: str = "",
        max_letters: int | None = None,
        replays_max: int | None = None,
        keep_order: bool = True,
        on_progress: Callable[[DeskProgress], None] = _say_nothing,
        stop: Callable[[], bool] = _go_on,
    ) -> DeskReport:
        """
        Send the open letters that fit to their groups again, in transactions of at most 500
        letters; `stop` is asked between them, so that nothing is left half done.

        Raises ConfigurationError without a `by`, and when a topic is missing or may not be written
        (the message says which, and how many letters were sent before); Fenced when another desk
        has begun: what was committed stays, the rest is left to it.
        """
        rules = self._replay_rules(letter_filter, max_letters, replays_max, keep_order=keep_order)
        return self._work(rules, by, reason, on_progress, stop)

    def discard(
        self,
        letter_filter: LetterFilter,
        *,
        by: str,
        reason: str,
        max_letters: int | None = None,
        on_progress: Callable[[DeskProgress], None] = _say_nothing,
        stop: Callable[[], bool] = _go_on,
    ) -> DeskReport:
        """
        Lay the open letters that fit aside for good: nothing is sent, the letters stay readable
        until retention deletes them.

        Raises as `replay`, and ConfigurationError without a reason.
        """
        if not reason.strip():
            raise ConfigurationError("a discard needs a reason: it is for good")

        rules = Rules(
            letter_filter=letter_filter,
            is_replay=False,
            max_letters=max_letters,
            replays_max=self._replays_max,
            parked_at=self._replays_max,
        )
        return self._work(rules, by, reason, on_progress, stop)

    def _replay_rules(
        self,
        letter_filter: LetterFilter,
        max_letters: int | None,
        replays_max: int | None,
        *,
        keep_order: bool,
    ) -> Rules:
        return Rules(
            letter_filter=letter_filter,
            is_replay=True,
            max_letters=max_letters,
            replays_max=self._replays_max if replays_max is None else replays_max,
            parked_at=self._replays_max,
            keep_order=keep_order,
        )

    def _work(
        self,
        rules: Rules,
        by: str,
        reason: str,
        on_progress: Callable[[DeskProgress], None],
        stop: Callable[[], bool],
    ) -> DeskReport:
        if not by.strip():
            raise ConfigurationError("say who decides: it is recorded")

        with self._logs() as logs:
            session = DeskSession(
                self._settings,
                logs,
                dispositions=self._dispositions_topic,
                rules=rules,
                by=by,
                reason=reason,
                commands=self._commands,
            )
            return session.run(on_progress, stop)
