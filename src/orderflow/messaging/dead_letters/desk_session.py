"""
The desk at work: copies and dispositions, transaction after transaction.

The order of the steps is the guarantee: fence whoever was the desk before; wait until none of its
transactions is open; read what is decided; only then send. After a commit whose outcome is unknown
all of that is done again, and a letter is sent only if it is still open.

An outage of brokers can undo a commit that they have acknowledged, also in part
(`docs/decisions/0026-commits-that-kafka-undoes.md`). So at the end the copies are read back: a
letter whose copy is not there gets its disposition taken back, and is open again.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress

from orderflow.messaging.dead_letters.desk_work import LogWork, Rules, Work, find_work, held_letter
from orderflow.messaging.dead_letters.dispositions import (
    Disposition,
    DispositionKind,
    disposition_record,
    disposition_text,
)
from orderflow.messaging.dead_letters.letter import copy_to_replay
from orderflow.messaging.dead_letters.letter_index import key_digest
from orderflow.messaging.dead_letters.letter_log import LetterLogs
from orderflow.messaging.dead_letters.letter_place import LetterId
from orderflow.messaging.dead_letters.letters import Letter
from orderflow.messaging.dead_letters.replay_plan import (
    SHOWN_MAX,
    DeskProgress,
    DeskReport,
    Held,
    PlannedLetter,
)
from orderflow.messaging.errors import (
    ConfigurationError,
    Fenced,
    OperatorCommands,
    Unavailable,
)
from orderflow.messaging.event import read_clock
from orderflow.messaging.failpoints import failpoint
from orderflow.messaging.kafka.clients import KafkaError, KafkaException, transactional_producer
from orderflow.messaging.kafka.place import Place
from orderflow.messaging.kafka.transactions import (
    Produced,
    ProducerLost,
    Refusal,
    TransactionAborted,
    Transactions,
)
from orderflow.messaging.settings import KafkaSettings

LETTERS_MAX = 500
BYTES_MAX = 4 * 1024 * 1024
"""Of one transaction: short enough to end well within its time-out."""
BROKER_WITHIN_S = 30.0
STABLE_WITHIN_S = 30.0
"""Longer than a transaction that nobody ends stays open: 15 s, and up to 10 s for the broker."""
CHECKED_MAX = 50_000
"""So many copies are sent before they are read back."""
TRIES_MAX = 5
ASK_AGAIN_S = 0.1

_NOT_ALLOWED = (
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
)


class DeskTaken(Fenced):
    """Another desk has begun, or this one stood still for longer than a transaction may take."""


class DeskSession:
    """
    One replay or discard. Not thread-safe; to be used once.

    Raises what `Desk.replay` raises. After any of it, what was committed is whole.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        logs: LetterLogs,
        *,
        dispositions: str,
        rules: Rules,
        by: str,
        reason: str,
        commands: OperatorCommands,
    ) -> None:
        self._settings, self._logs = settings, logs
        self._dispositions = dispositions
        self._rules = rules
        self._by, self._reason = disposition_text(by), reason
        self._commands = commands

        self._done: Counter[str] = Counter()
        self._held: Counter[Held] = Counter()
        self._shown: list[PlannedLetter] = []
        self._refused_keys: set[bytes] = set()
        self._sent: dict[LetterId, str] = {}
        self._checked: Mapping[Place, int] = {}
        self._undone = self._vanished = 0
        self._transaction_count = 0
        self._at = read_clock()
        self._give_up_at = 0.0

    def run(
        self, on_progress: Callable[[DeskProgress], None], stop: Callable[[], bool]
    ) -> DeskReport:
        """Deal with all letters that the rules allow, as they are after the fence."""
        self._refuse_missing([self._dispositions])
        self._open()
        # Not before: a desk that came between would have sent letters that are open in here.
        work = find_work(self._logs, self._rules)
        self._refuse_missing(self._targets(work))
        self._held, self._shown = work.held, work.shown
        self._checked = self._logs.logs.ends(self._logs.places(self._targets(work)))

        on_progress(DeskProgress(done=0, total=work.total))
        reached, stopped = 0, False
        for part, letters in self._batches(work):
            if stop():
                stopped = True
                break
            self._deal_with(part, letters)
            if len(self._sent) >= CHECKED_MAX:
                self._take_back_undone()
            reached += len(letters)
            on_progress(DeskProgress(done=reached, total=work.total))

        self._take_back_undone()
        return DeskReport(
            done=self._done.total(),
            by_topic=dict(+self._done),
            held=dict(+self._held),
            beyond_max=work.beyond_max,
            letters=tuple(self._shown),
            transactions=self._transaction_count,
            stopped=stopped,
            left=work.total - reached - self._vanished,
            undone=self._undone,
        )

    def _batches(self, work: Work) -> Iterator[tuple[LogWork, list[Letter]]]:
        for part in work.parts:
            batch: list[Letter] = []
            size = 0
            for offset in part.offsets:
                letter = self._logs.letter_at(part.log, offset, work.decided)
                if letter is None:
                    # Retention has deleted it meanwhile.
                    self._held[Held.GONE] += 1
                    self._vanished += 1
                    continue
                if batch and (len(batch) >= LETTERS_MAX or size + letter.size > BYTES_MAX):
                    yield part, batch
                    batch, size = [], 0
                batch.append(letter)
                size += letter.size

            if batch:
                yield part, batch

    def _deal_with(self, part: LogWork, letters: Sequence[Letter]) -> None:
        """Commit this batch, but for what the broker refuses."""
        left = [letter for letter in letters if not self._would_overtake(letter)]
        failures = 0
        while left:
            before = len(left)
            try:
                left = self._try(part, left)
            except ProducerLost as lost:
                if lost.fenced:
                    raise self._taken(part, left) from lost
                left = self._after_an_unknown_outcome(part, left)

            failures = 0 if len(left) < before else failures + 1
            if failures == TRIES_MAX:
                raise Unavailable(
                    f"{len(left)} dead letters could not be dealt with: {TRIES_MAX} transactions "
                    f"in a row failed; {self._so_far()}",
                    resource="broker",
                )

    def _try(self, part: LogWork, letters: list[Letter]) -> list[Letter]:
        """One transaction. Returns the letters that are to be tried again."""
        self._at = read_clock()
        records = [record for letter in letters for record in self._records(part, letter)]

        try:
            self._commit(records)
        except TransactionAborted as aborted:
            # Nothing of it is visible, and nobody else can be the desk: the same records again.
            if aborted.refused is Refusal.TOPIC:
                raise self._not_writable(part, aborted) from aborted
            self._refuse_missing(self._topics(part))
            if aborted.refused is Refusal.RECORD:
                return self._without_refused(letters, records)
            return letters
        self._count(part, letters)
        return []

    def _commit(self, records: Iterable[Produced]) -> None:
        """Copies and dispositions become visible together, or not at all."""
        transactions = self._transactions
        self._give_up_at = time.monotonic() + BROKER_WITHIN_S
        transactions.begin()
        transactions.produce(records)
        failpoint("desk.after_produce", before=transactions.flush)
        failpoint("desk.before_commit")
        transactions.commit()
        failpoint("desk.after_commit")
        self._transaction_count += 1

    def _records(self, part: LogWork, letter: Letter) -> list[Produced]:
        disposition = Disposition(
            kind=DispositionKind.REPLAYED if self._rules.is_replay else DispositionKind.DISCARDED,
            by=self._by,
            reason=self._reason,
            at=self._at,
            replays=letter.evidence.replays + self._rules.is_replay,
            replayed_to=part.target if self._rules.is_replay else None,
        )
        decided = disposition_record(self._dispositions, letter.id, disposition)
        if not self._rules.is_replay:
            return [decided]

        copy = copy_to_replay(
            to=part.target,
            letter_id=str(letter.id),
            key=letter.key,
            value=letter.value,
            headers=letter.all_headers,
        )
        return [copy, decided]

    def _open(self) -> None:
        """
        Become the desk. Whoever was it can't commit any more, and its transactions have ended.
        """
        failpoint("desk.before_fence")
        self._give_up_at = time.monotonic() + BROKER_WITHIN_S
        producer = transactional_producer(self._settings, f"{self._dispositions}.desk")
        self._transactions = Transactions(producer, between=self._give_up_in_time)
        try:
            self._transactions.init()
        except ProducerLost as lost:
            raise self._refused_at_start(lost) from lost

        failpoint("desk.after_fence")
        self._await_no_open_transaction([self._dispositions])

    def _give_up_in_time(self) -> None:
        if time.monotonic() > self._give_up_at:
            raise Unavailable(
                f"the broker did not answer within {BROKER_WITHIN_S:.0f} s; {self._so_far()}, and "
                "what was under way is whole or not there",
                resource="broker",
            )

    def _await_no_open_transaction(self, topics: Iterable[str]) -> None:
        """
        An open transaction hides what is written behind it: a disposition, and we would not see it.
        """
        logs, places = self._logs.logs, self._logs.places(topics)
        deadline = time.monotonic() + STABLE_WITHIN_S
        # The ends first: what is written later is not the former desk's.
        ends = logs.ends(places)

        while True:
            stable_ends = logs.stable_ends(places)
            if all(stable_ends[place] >= ends[place] for place in places):
                return
            if time.monotonic() > deadline:
                hidden = sorted(place[0] for place in places if stable_ends[place] < ends[place])
                raise Unavailable(
                    f"a transaction on {', '.join(hidden)} is open for longer than "
                    f"{STABLE_WITHIN_S:.0f} s, and hides which letters are dealt with; "
                    f"{self._so_far()}",
                    resource="broker",
                )
            time.sleep(ASK_AGAIN_S)

    def _after_an_unknown_outcome(self, part: LogWork, letters: Sequence[Letter]) -> list[Letter]:
        """Which of them are still open; the others were committed."""
        self._open()
        self._refuse_missing(self._topics(part))
        decided = self._logs.decided([part.log])
        decisions = [(it, decided.of(part.log.place, it.id.offset)) for it in letters]
        self._count(part, [it for it, decision in decisions if self._is_ours(decision)])
        return [it for it, decision in decisions if decision is None]

    def _taken(self, part: LogWork, letters: Sequence[Letter]) -> DeskTaken:
        # Its answer may have been lost before: what is committed of it is told by the dispositions.
        with suppress(Unavailable):
            decided = self._logs.decided([part.log])
            decisions = [(it, decided.of(part.log.place, it.id.offset)) for it in letters]
            self._count(part, [it for it, decision in decisions if self._is_ours(decision)])
        return DeskTaken(
            "another desk has begun, or this one stood still for longer than 15 s: "
            f"{self._so_far()}; the rest is open, or with the other desk"
        )

    def _is_ours(self, decision: Disposition | None) -> bool:
        """Whether the last transaction that was tried decided this."""
        return decision is not None and (decision.by, decision.at) == (self._by, self._at)

    def _without_refused(self, letters: list[Letter], records: Sequence[Produced]) -> list[Letter]:
        """Find the copy that the broker refuses for good; it stays open, and its key behind it."""
        refused = self._transactions.find_refused(records)
        if refused is None:
            return letters

        number, words = refused
        place = number // (len(records) // len(letters))
        letter = letters[place]
        self._hold(letter, Held.REFUSED, f"the broker refuses its copy: {words}")
        self._refused_keys.add(key_digest(letter.key))
        # Older letters of its key are before it, and may go.
        younger = [it for it in letters[place + 1 :] if not self._would_overtake(it)]
        return [*letters[:place], *younger]

    def _would_overtake(self, letter: Letter) -> bool:
        if key_digest(letter.key) not in self._refused_keys or not self._rules.keep_order:
            return False
        self._hold(letter, Held.OLDER_OPEN, "it would overtake a letter that the broker refuses")
        return True

    def _hold(self, letter: Letter, held: Held, why: str) -> None:
        self._held[held] += 1
        if len(self._shown) < SHOWN_MAX:
            self._shown.append(held_letter(letter, held, why=why))

    def _count(self, part: LogWork, letters: Sequence[Letter]) -> None:
        """These are committed."""
        if not letters:
            return
        topic = part.target if self._rules.is_replay else part.log.place[0]
        self._done[topic] += len(letters)
        if self._rules.is_replay:
            self._sent.update((letter.id, topic) for letter in letters)

    def _take_back_undone(self) -> None:
        """Make the letters open again whose copies were acknowledged and are not there."""
        if not self._sent:
            return
        # What is hidden for a while is not gone.
        self._await_no_open_transaction({topic for topic, _ in self._checked})
        ends = self._logs.logs.stable_ends(self._checked)
        for letter_id in self._logs.copies(self._checked, ends):
            self._sent.pop(letter_id, None)

        undone = sorted(self._sent)
        for start in range(0, len(undone), LETTERS_MAX):
            batch = undone[start : start + LETTERS_MAX]
            self._commit([(self._dispositions, str(it).encode(), None, []) for it in batch])
            self._done.subtract(Counter(self._sent[it] for it in batch))
        self._undone += len(undone)
        self._checked, self._sent = ends, {}

    def _topics(self, part: LogWork) -> list[str]:
        return [part.target, self._dispositions] if self._rules.is_replay else [self._dispositions]

    def _targets(self, work: Work) -> list[str]:
        return [part.target for part in work.parts] if self._rules.is_replay else []

    def _refuse_missing(self, topics: Sequence[str]) -> None:
        # The client alone would wait until the transaction has timed out, and name no topic.
        missing = sorted(set(topics) - self._logs.logs.partitions(topics).keys())
        if missing:
            raise ConfigurationError(
                f"there is no topic {', '.join(missing)}: {self._commands.apply_topics}; "
                f"{self._so_far()}"
            )

    def _not_writable(self, part: LogWork, aborted: TransactionAborted) -> ConfigurationError:
        return ConfigurationError(
            f"{' or '.join(self._topics(part))} may not be written: {aborted}; {self._so_far()}"
        )

    def _refused_at_start(self, lost: ProducerLost) -> Exception:
        cause = lost.__cause__
        error = cause.args[0] if isinstance(cause, KafkaException) else None
        if error is not None and error.code() in _NOT_ALLOWED:
            return ConfigurationError(
                f"the desk may not use its transactional id {self._dispositions}.desk: "
                f"{error.str()}; nothing was changed"
            )
        return DeskTaken(f"another desk has begun at the same moment; {self._so_far()}")

    def _so_far(self) -> str:
        done = self._done.total()
        if not done:
            return "nothing was changed"
        verb = "sent back" if self._rules.is_replay else "discarded"
        return f"{done} dead letters were {verb} before, for good"
