"""
What the books have read of the topics, in one SQLite file: positions, and what was added up.

Guarantee: records and the positions behind them are written in one SQLite transaction, so a record
is added once, through kill -9 at any line. The file is a copy: the topics are the truth. Deleted,
damaged or of another format, it is made anew and all topics are read again; a topic that was made
anew is noticed by its id, and then everything is read again, too.

Memory is that of one batch. On disk an order takes about 1 kB, a customer 0.3 kB. One process at a
time: another one waits for 5 s, then raises Unavailable.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from orderflow.books.accounts import OpenLetter, Sums, TopicEvent
from orderflow.messaging.errors import ConfigurationError, Unavailable
from orderflow.messaging.kafka.place import Place

FORMAT = "3"
FILE = "books.sqlite"
IN_MAX = 500
BUSY_S = 5.0
RESOURCE = "store of the books"

Events = tuple[TopicEvent, ...]


class CustomerFold(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """What the topics add up to of one customer; see `accounts.CustomerAccount`."""

    paid: dict[str, Sums] = {}
    changed: dict[str, Sums] = {}
    revenue: dict[str, Sums] = {}
    announced: int = 0
    last_announced: int = 0


REPLAYED = "REPLAYED"


class LetterRow(msgspec.Struct, frozen=True, kw_only=True):
    """
    A dead letter of an order, or of nobody (""). `disposition`: what became of it, "" while open.
    """

    order_id: str
    letter: OpenLetter
    disposition: str = ""


class Batch(msgspec.Struct, kw_only=True):
    """
    What one batch of records changes; all of it is written at once. `paid`: by partition and offset
    of `payments` the order of the event that is there. `dispositions`: by the name of
    the letter what became of it; "" takes it back.
    """

    orders: dict[str, Events] = {}
    customers: dict[str, CustomerFold] = {}
    facts: set[str] = set()
    references: dict[str, str] = {}
    letters: list[LetterRow] = []
    paid: dict[tuple[int, int], str] = {}
    dispositions: dict[str, str] = {}
    unreadable: int = 0


class BooksStore:
    """The file in `directory`; used by one thread. Raises as the module says."""

    def __init__(self, directory: Path) -> None:
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(
                f"the books can't be kept in {directory}: {error.strerror or error}; choose "
                "another place (ORDERFLOW_BOOKS__STATE_DIR)"
            ) from error
        self._path = directory / FILE
        self._connection = self._opened()

    def close(self) -> None:
        self._connection.close()

    @property
    def topic_ids(self) -> dict[str, str]:
        """The ids of the topics that were read."""
        return dict(self._rows("SELECT name, id FROM topic"))

    def begin_anew(self, topic_ids: Mapping[str, str]) -> None:
        """Forget everything: the topics are read from their beginnings."""
        with self._transaction() as connection:
            for table in _TABLES:
                connection.execute(f"DELETE FROM {table}")  # noqa: S608 - constants
            connection.executemany("INSERT INTO topic VALUES (?, ?)", topic_ids.items())

    def add_topics(self, topic_ids: Mapping[str, str]) -> None:
        """Topics that came since."""
        with self._transaction() as connection:
            connection.executemany("INSERT OR REPLACE INTO topic VALUES (?, ?)", topic_ids.items())

    def positions(self) -> dict[Place, int]:
        """How far each partition was read."""
        rows = self._rows("SELECT topic, partition, position FROM place")
        return {(topic, partition): position for topic, partition, position in rows}

    def note_gap(self, place: Place, position: int, until_s: float) -> None:
        """Records before `position` are unknown, all that were written until then."""
        with self._transaction() as connection:
            connection.execute(
                "INSERT INTO place VALUES (?, ?, ?, ?) ON CONFLICT (topic, partition) "
                "DO UPDATE SET position = excluded.position, unknown_s = excluded.unknown_s",
                (*place, position, until_s),
            )

    def unknown_before(self) -> dict[str, datetime]:
        """By topic: what was written until then may not be known."""
        rows = self._rows("SELECT topic, max(unknown_s) FROM place WHERE unknown_s > 0 GROUP BY 1")
        return {topic: datetime.fromtimestamp(until_s, UTC) for topic, until_s in rows}

    def events(self, order_ids: Sequence[str]) -> dict[str, Events]:
        """The events of those of these orders that have some."""
        return {
            order_id: _events(packed)
            for order_id, packed in self._among(
                "SELECT order_id, events FROM account WHERE order_id IN ({})", order_ids
            )
        }

    def customers(self, customer_ids: Sequence[str]) -> dict[str, CustomerFold]:
        return {
            customer_id: msgspec.msgpack.decode(packed, type=CustomerFold)
            for customer_id, packed in self._among(
                "SELECT customer_id, fold FROM customer WHERE customer_id IN ({})", customer_ids
            )
        }

    def known_facts(self, fact_ids: Sequence[str]) -> set[str]:
        return {row[0] for row in self._among("SELECT id FROM fact WHERE id IN ({})", fact_ids)}

    def orders_of(self, references: Sequence[str]) -> dict[str, str]:
        """The orders of these payments, as far as a topic names them."""
        return dict(self._among("SELECT id, order_id FROM reference WHERE id IN ({})", references))

    def letters(self, order_ids: Sequence[str]) -> dict[str, list[LetterRow]]:
        """The dead letters of these orders, with what became of them."""
        letters: dict[str, list[LetterRow]] = {}
        for order_id, packed, kind in self._among(
            "SELECT order_id, letter, COALESCE(kind, '') FROM letter "
            "LEFT JOIN disposition USING (name) WHERE order_id IN ({}) ORDER BY name",
            order_ids,
        ):
            letter = msgspec.msgpack.decode(packed, type=OpenLetter)
            row = LetterRow(order_id=order_id, letter=letter, disposition=kind)
            letters.setdefault(order_id, []).append(row)
        return letters

    def paid(self, partition: int, first: int, end: int) -> dict[int, str]:
        """The orders of the events of `payments` from `first` to before `end`, by offset."""
        return dict(
            self._rows(
                "SELECT at, order_id FROM paid WHERE partition = ? AND at >= ? AND at < ?",
                (partition, first, end),
            )
        )

    def letter_counts(self) -> tuple[int, int]:
        """Letters that were read, and those of them that are open."""
        [(known,)] = self._rows("SELECT count(*) FROM letter")
        [(opened,)] = self._rows(
            "SELECT count(*) FROM letter WHERE name NOT IN (SELECT name FROM disposition)"
        )
        return known, opened

    def strange_dispositions(self, limit: int) -> list[str]:
        """Letters that were dealt with, and that are not there."""
        rows = self._rows(
            "SELECT name FROM disposition WHERE name NOT IN (SELECT name FROM letter) LIMIT ?",
            (limit,),
        )
        return [name for (name,) in rows]

    def touched_orders(self, after: str, limit: int) -> list[str]:
        """The next orders that have changed since they were last compared, in their order."""
        return self._touched("touched_order", after, limit)

    def touched_customers(self, after: str, limit: int) -> list[str]:
        return self._touched("touched_customer", after, limit)

    def customer_ids(self, after: str, limit: int) -> list[str]:
        """The next customers that a topic names, in their order."""
        query = "SELECT customer_id FROM customer WHERE customer_id > ? ORDER BY 1 LIMIT ?"
        return [row[0] for row in self._rows(query, (after, limit))]

    def touch_orders(self, order_ids: Iterable[str]) -> None:
        self._mark("INSERT OR IGNORE INTO touched_order VALUES (?)", order_ids)

    def settle_orders(self, order_ids: Iterable[str]) -> None:
        """They were compared, and agree."""
        self._mark("DELETE FROM touched_order WHERE id = ?", order_ids)

    def settle_customers(self, customer_ids: Iterable[str]) -> None:
        self._mark("DELETE FROM touched_customer WHERE id = ?", customer_ids)

    def touch_customers(self, customer_ids: Iterable[str]) -> None:
        self._mark("INSERT OR IGNORE INTO touched_customer VALUES (?)", customer_ids)

    def count_orders(self) -> int:
        [(count,)] = self._rows("SELECT count(*) FROM account")
        return int(count)

    def cursor(self, name: str) -> str:
        """Where a round over all ids stands; "" at its beginning."""
        rows = [*self._rows("SELECT value FROM meta WHERE name = ?", (name,))]
        return str(rows[0][0]) if rows else ""

    def set_cursor(self, name: str, value: str) -> None:
        with self._transaction() as connection:
            connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))

    def write(self, batch: Batch, positions: Mapping[Place, int]) -> None:
        """A batch and the positions behind it: both, or neither."""
        with self._transaction() as connection:
            connection.executemany(
                "INSERT OR REPLACE INTO account VALUES (?, ?)",
                [(order_id, _packed(events)) for order_id, events in batch.orders.items()],
            )
            connection.executemany(
                "INSERT OR IGNORE INTO touched_order VALUES (?)", _ones(batch.orders)
            )
            connection.executemany(
                "INSERT OR REPLACE INTO customer VALUES (?, ?)",
                [(each, msgspec.msgpack.encode(fold)) for each, fold in batch.customers.items()],
            )
            connection.executemany(
                "INSERT OR IGNORE INTO touched_customer VALUES (?)", _ones(batch.customers)
            )
            connection.executemany("INSERT OR IGNORE INTO fact VALUES (?)", _ones(batch.facts))
            connection.executemany(
                "INSERT OR IGNORE INTO reference VALUES (?, ?)", batch.references.items()
            )
            connection.executemany(
                "INSERT OR REPLACE INTO paid VALUES (?, ?, ?)",
                [(*place, order_id) for place, order_id in batch.paid.items()],
            )
            self._write_letters(connection, batch)
            connection.executemany(
                "INSERT INTO place VALUES (?, ?, ?, 0) ON CONFLICT (topic, partition) "
                "DO UPDATE SET position = max(position, excluded.position)",
                [(*place, position) for place, position in positions.items()],
            )

    def _write_letters(self, connection: sqlite3.Connection, batch: Batch) -> None:
        connection.executemany(
            "INSERT OR REPLACE INTO letter VALUES (?, ?, ?)",
            [
                (row.letter.name, row.order_id, msgspec.msgpack.encode(row.letter))
                for row in batch.letters
            ],
        )
        # A letter that comes or goes changes how its order is judged.
        connection.executemany(
            "INSERT OR IGNORE INTO touched_order VALUES (?)",
            [(row.order_id,) for row in batch.letters if row.order_id],
        )

        for name, kind in batch.dispositions.items():
            if kind:
                connection.execute("INSERT OR REPLACE INTO disposition VALUES (?, ?)", (name, kind))
            else:
                connection.execute("DELETE FROM disposition WHERE name = ?", (name,))
            connection.execute(
                "INSERT OR IGNORE INTO touched_order "
                "SELECT order_id FROM letter WHERE name = ? AND order_id <> ''",
                (name,),
            )

    def _touched(self, table: str, after: str, limit: int) -> list[str]:
        query = f"SELECT id FROM {table} WHERE id > ? ORDER BY id LIMIT ?"  # noqa: S608
        return [row[0] for row in self._rows(query, (after, limit))]

    def _mark(self, statement: str, ids: Iterable[str]) -> None:
        rows = _ones(ids)
        if rows:
            with self._transaction() as connection:
                connection.executemany(statement, rows)

    def _rows(self, query: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        with self._errors():
            return self._connection.execute(query, parameters).fetchall()

    def _among(self, query: str, ids: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        for start in range(0, len(ids), IN_MAX):
            some = ids[start : start + IN_MAX]
            yield from self._rows(query.format(",".join("?" * len(some))), some)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._errors():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise Unavailable(
                f"{self._path}: {error}; if it is damaged, delete it: the topics are read again",
                resource=RESOURCE,
                reason="can't be written or read",
            ) from error

    def _opened(self) -> sqlite3.Connection:
        with self._errors():
            connection = _connect(self._path)
            if not _is_ours(connection):
                # A copy of another format, or a damaged one: the topics have it all.
                connection.close()
                for suffix in ("", "-wal", "-shm"):
                    Path(f"{self._path}{suffix}").unlink(missing_ok=True)
                connection = _connect(self._path)
            for statement in _SCHEMA:
                connection.execute(statement)
            connection.execute("INSERT OR IGNORE INTO format VALUES (?)", (FORMAT,))
            return connection


def _connect(path: Path) -> sqlite3.Connection:
    # The audit's thread is not always the one that opened it, nor the one that closes it.
    return sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)


def _is_ours(connection: sqlite3.Connection) -> bool:
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        return not tables or connection.execute("SELECT * FROM format").fetchall() == [(FORMAT,)]
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError) and "locked" in str(error):
            raise
        return False


def _ones(values: Iterable[str]) -> list[tuple[str]]:
    return [(value,) for value in values]


def _packed(events: Events) -> bytes:
    return zlib.compress(msgspec.msgpack.encode(events), 1)


def _events(packed: bytes) -> Events:
    return msgspec.msgpack.decode(zlib.decompress(packed), type=Events)


_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS format (version TEXT PRIMARY KEY)",
    "CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS topic (name TEXT PRIMARY KEY, id TEXT NOT NULL)",
    """CREATE TABLE IF NOT EXISTS place (topic TEXT, partition INTEGER, position INTEGER NOT NULL,
    unknown_s REAL NOT NULL, PRIMARY KEY (topic, partition))""",
    "CREATE TABLE IF NOT EXISTS account (order_id TEXT PRIMARY KEY, events BLOB NOT NULL)",
    "CREATE TABLE IF NOT EXISTS customer (customer_id TEXT PRIMARY KEY, fold BLOB NOT NULL)",
    "CREATE TABLE IF NOT EXISTS fact (id TEXT PRIMARY KEY) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS reference (id TEXT PRIMARY KEY, order_id TEXT) WITHOUT ROWID",
    """CREATE TABLE IF NOT EXISTS paid (partition INTEGER, at INTEGER, order_id TEXT NOT NULL,
    PRIMARY KEY (partition, at)) WITHOUT ROWID""",
    "CREATE TABLE IF NOT EXISTS letter (name TEXT PRIMARY KEY, order_id TEXT, letter BLOB)",
    "CREATE INDEX IF NOT EXISTS letter_of_order ON letter (order_id)",
    "CREATE TABLE IF NOT EXISTS disposition (name TEXT PRIMARY KEY, kind TEXT) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS touched_order (id TEXT PRIMARY KEY) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS touched_customer (id TEXT PRIMARY KEY) WITHOUT ROWID",
)
_TABLES = (
    "meta",
    "topic",
    "place",
    "account",
    "customer",
    "fact",
    "reference",
    "paid",
    "letter",
    "disposition",
    "touched_order",
    "touched_customer",
)
