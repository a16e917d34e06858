"""
The rows that a relay holds, in its database: written before the position passes them, deleted after
the position that sent them was read from Kafka.

Only the relay that reads the slot changes them; operators only note what they want. So a row is
held once, whatever is killed: written again it is the same row, by its event id. Rows that are to
be sent are marked with the number of the Kafka transaction that will send them, which carries that
number with the position: whoever reads the position knows whether they were sent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple
from uuid import UUID

import msgspec

from orderflow.messaging.errors import Unavailable
from orderflow.messaging.event import CE_ID, Headers
from orderflow.messaging.postgres import RESOURCE, Connection, array, unavailable_when_transient
from orderflow.messaging.postgres.outbox import DECISIONS_TABLE, HELD_TABLE, TABLE
from orderflow.messaging.relay.hold_decision import DISCARD, Lane, Waiting
from orderflow.messaging.relay.records import ProducerRecord
from orderflow.messaging.telemetry import logger

WRITE_BYTES_MAX = 4 * 1024 * 1024
"""One statement's worth of payloads; in the statement they take twice the room."""

DECISIONS_KEPT_DAYS = 35

log = logger("relay.held")


class Hold(NamedTuple):
    """
    A row to hold. `lsn`: where its database transaction ends. `why`: the broker's words about it;
    None if it waits behind another.
    """

    row: ProducerRecord
    lsn: int
    why: str | None


class HeldStore:
    """
    One session's view, as of the last `load` or change. `held`: how many rows are held. `lanes`:
    how many of each the position has passed. `ahead`: the ids of those that the log behind the
    position still has: the relay was killed when it had written them.

    `reader`: the slot, and the process that must be its reader for a change; None for a resync,
    which runs while nobody reads it. Each method raises Unavailable when the database is away, or
    somebody else reads the slot.
    """

    def __init__(self, connection: Connection, *, reader: tuple[str, int] | None) -> None:
        self._connection = connection
        self._reader = reader
        self.lanes: Counter[Lane] = Counter()
        self.ahead: dict[str, tuple[Lane, int]] = {}
        self.held = 0

    def settle(self, resent: int) -> None:
        """
        Delete what was sent by transactions up to `resent`, which must be *read* from Kafka, and
        note what became of operators' wishes.
        """
        with unavailable_when_transient():
            row = self._connection.execute(_SETTLE, (resent,)).fetchone()
        assert row is not None
        if row[0]:
            log.info("held rows are settled", sent=row[0] - row[1], discarded=row[1])

    def unmark(self, resent: int) -> None:
        """Nothing was sent by transactions beyond `resent`: the turn of their rows comes again."""
        with unavailable_when_transient():
            self._connection.execute(_UNMARK, (resent, *self._reader_parameters()))

    def forget_log(self) -> None:
        """
        From here on the log begins anew: it has none of the held rows, and which of them were sent
        is not known.
        """
        with unavailable_when_transient():
            self._connection.execute(_FORGET_LOG)

    def load(self, *, position: int, resent: int) -> list[Waiting]:
        """
        The held rows that the position has passed, in their order.

        Those that the log behind the position still has are held, but their turn has not come: the
        session meets them again. Rows marked with `resent` or less are on Kafka, not among them.
        """
        with unavailable_when_transient():
            rows = self._connection.execute(_LOAD, (resent,)).fetchall()

        waiting: list[Waiting] = []
        self.ahead = {}
        for event_id, topic, key, refused, wanted, size, lsn in rows:
            lane = topic, key.encode()
            if lsn <= position:
                waiting.append(Waiting(event_id, lane, refused, wanted, size))
            else:
                self.ahead[str(event_id)] = lane, lsn
        self.lanes = Counter(row.lane for row in waiting)
        self.held = len(rows)
        return waiting

    def passed(self, position: int) -> None:
        """The position is there now."""
        for event_id in [each for each, (_, lsn) in self.ahead.items() if lsn <= position]:
            lane, _ = self.ahead.pop(event_id)
            self.lanes[lane] += 1

    def hold(self, rows: Sequence[Hold]) -> None:
        """
        Write rows that the position has not passed, in their order; those that are there already
        stay as they are.
        """
        for part in _parts(rows):
            columns = (
                [event_id_of(each.row) for each in part],
                [each.row.topic for each in part],
                [each.row.key.decode() for each in part],
                [each.row.value for each in part],
                [_headers_text(each.row.headers) for each in part],
                [each.why for each in part],
                [each.lsn for each in part],
            )
            parameters = [*self._reader_parameters(), *(array(column) for column in columns)]
            with unavailable_when_transient(), self._on_disk():
                answers = self._connection.execute(_HOLD, parameters).fetchall()

            self._refuse_other_reader(may_change=answers[0][0])
            # Not those that were there already: they are in `lanes` or `ahead` as they are.
            for _, event_id, topic, key, lsn in answers:
                if event_id is not None:
                    self.ahead[str(event_id)] = (topic, key.encode()), lsn
        self.held = self.lanes.total() + len(self.ahead)

    def mark(self, chosen: Sequence[Waiting], number: int) -> list[ProducerRecord]:
        """
        Mark `chosen` as to be sent by transaction `number`, and no other row; what earlier ones
        have sent stays marked with theirs. Returns the records to send, in their order: those that
        are to be discarded are marked, and not among them.
        """
        event_ids = array([str(row.event_id) for row in chosen])
        # In one transaction: a wish that comes meanwhile waits for the mark, and is then refused.
        with unavailable_when_transient(), self._on_disk():
            answer = self._connection.execute(_MAY_CHANGE, self._reader_parameters()).fetchone()
            self._refuse_other_reader(may_change=bool(answer and answer[0]))
            self._connection.execute(_MARK, (event_ids, number, number, event_ids))
            rows = self._connection.execute(_MARKED, (number,)).fetchall()

        return [
            ProducerRecord(topic, key.encode(), bytes(payload), _headers(headers))
            for topic, key, payload, headers, wanted in rows
            if wanted != DISCARD
        ]

    def refused_again(self, why: Sequence[tuple[UUID, str]]) -> None:
        """Note that rows were refused again; nobody's wish about them is open any more."""
        parameters = (
            array([str(event_id) for event_id, _ in why]),
            array([words for _, words in why]),
            *self._reader_parameters(),
        )
        with unavailable_when_transient():
            self._connection.execute(_REFUSED_AGAIN, parameters)

    @contextmanager
    def _on_disk(self) -> Iterator[None]:
        """A transaction that is on the server's disk at its end: Kafka's commit relies on it."""
        with self._connection.transaction():
            self._connection.execute("SET LOCAL synchronous_commit = on")
            yield

    def lanes_beyond_retention(self) -> set[Lane]:
        """Lanes of which a held row is in the outbox no more: what is there of them is behind it"""
        rows = self._connection.execute(_BEYOND_RETENTION)
        return {(topic, key.encode()) for topic, key in rows}

    def event_ids(self) -> set[str]:
        """Those of all held rows."""
        return {str(row[0]) for row in self._connection.execute(_EVENT_IDS)}

    def _reader_parameters(self) -> tuple[object, ...]:
        slot, pid = self._reader or (None, None)
        return slot, slot, pid

    def _refuse_other_reader(self, *, may_change: bool) -> None:
        if not may_change:
            # This process was stopped for longer than its session: what it knows is old.
            raise Unavailable(
                "another process reads the slot: what is held is changed by that one alone",
                resource=RESOURCE,
            )


def delete_old_decisions(connection: Connection) -> None:
    """What became of operators' wishes is kept for 35 days."""
    connection.execute(_DELETE_OLD_DECISIONS, (DECISIONS_KEPT_DAYS,))


def _parts(rows: Sequence[Hold]) -> Iterator[Sequence[Hold]]:
    start, size = 0, 0
    for place, each in enumerate(rows):
        if place > start and size + len(each.row.value) > WRITE_BYTES_MAX:
            yield rows[start:place]
            start, size = place, 0
        size += len(each.row.value)
    if rows:
        yield rows[start:]


def event_id_of(row: ProducerRecord) -> str:
    """The id in the row's headers."""
    return next(value for name, value in row.headers if name == CE_ID).decode()


def _headers_text(headers: Headers) -> str:
    return msgspec.json.encode({name: value.decode() for name, value in headers}).decode()


def _headers(headers: dict[str, str]) -> Headers:
    return [(name, value.encode()) for name, value in headers.items()]


_OURS = """
    %s::text IS NULL
    OR EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = %s AND active_pid = %s)
"""
_MAY_CHANGE = f"SELECT {_OURS}"
_HOLD = f"""
WITH permitted AS (SELECT {_OURS} AS may_change),
held AS (
    INSERT INTO {HELD_TABLE} (event_id, topic, key, payload, headers, why, refusals, lsn)
    SELECT event_id, topic, key, payload, headers, why, (why IS NOT NULL)::int, lsn
    FROM permitted, unnest(%s::uuid[], %s::text[], %s::text[], %s::bytea[], %s::jsonb[], %s::text[],
                           %s::bigint[])
        WITH ORDINALITY AS given (event_id, topic, key, payload, headers, why, lsn, number)
    WHERE may_change
    ORDER BY number
    ON CONFLICT (event_id) DO NOTHING
    RETURNING event_id, topic, key, lsn
)
SELECT may_change, event_id, topic, key, lsn FROM permitted LEFT JOIN held ON true
"""  # noqa: S608 - the tables' names are constants, here and below
_LOAD = f"""
SELECT event_id, topic, key, why IS NOT NULL, wanted, octet_length(payload), lsn
FROM {HELD_TABLE} WHERE sending IS NULL OR sending > %s ORDER BY place
"""  # noqa: S608
_MARK = f"""
UPDATE {HELD_TABLE} SET sending = CASE WHEN event_id = ANY (%s::uuid[]) THEN %s::bigint END
WHERE sending >= %s OR event_id = ANY (%s::uuid[])
"""  # noqa: S608
_MARKED = f"""
SELECT topic, key, payload, headers, wanted FROM {HELD_TABLE} WHERE sending = %s ORDER BY place
"""  # noqa: S608
_UNMARK = f"""
UPDATE {HELD_TABLE} SET sending = NULL WHERE sending > %s AND ({_OURS})
"""  # noqa: S608
_FORGET_LOG = f"""
UPDATE {HELD_TABLE} SET sending = NULL, lsn = 0 WHERE sending IS NOT NULL OR lsn <> 0
"""  # noqa: S608
_NOTE = f"""
    INSERT INTO {DECISIONS_TABLE} (event_id, topic, key, type, held_since, why, refusals,
                                   wanted, wanted_by, because, wanted_at, outcome)"""
_SETTLE = f"""
WITH gone AS (DELETE FROM {HELD_TABLE} WHERE sending <= %s RETURNING *),
noted AS ({_NOTE}
    SELECT event_id, topic, key, headers ->> 'ce_type', since, why, refusals,
           wanted, wanted_by, because, wanted_at,
           CASE wanted WHEN 'discard' THEN 'discarded' ELSE 'sent' END
    FROM gone WHERE wanted IS NOT NULL
)
SELECT count(*), count(*) FILTER (WHERE wanted = 'discard') FROM gone
"""  # noqa: S608
_REFUSED_AGAIN = f"""
WITH refused AS (SELECT * FROM unnest(%s::uuid[], %s::text[]) AS given (event_id, words)),
noted AS ({_NOTE}
    SELECT event_id, topic, key, headers ->> 'ce_type', since, words, refusals + 1,
           wanted, wanted_by, because, wanted_at, 'refused again'
    FROM {HELD_TABLE} JOIN refused USING (event_id) WHERE wanted IS NOT NULL
)
UPDATE {HELD_TABLE} AS held
SET why = words, refusals = refusals + 1, sending = NULL,
    wanted = NULL, wanted_by = NULL, because = NULL, wanted_at = NULL
FROM refused WHERE held.event_id = refused.event_id AND ({_OURS})
"""  # noqa: S608
_BEYOND_RETENTION = f"""
SELECT DISTINCT topic, key FROM {HELD_TABLE} AS held
WHERE NOT EXISTS (SELECT FROM {TABLE} WHERE {TABLE}.id = held.event_id)
"""  # noqa: S608
_EVENT_IDS = f"SELECT event_id FROM {HELD_TABLE}"  # noqa: S608
_DELETE_OLD_DECISIONS = f"""
DELETE FROM {DECISIONS_TABLE} WHERE decided_at < now() - make_interval(days => %s)
"""  # noqa: S608
