"""
State stores on disk: one SQLite file for each table and partition.

The writer commits without waiting for the disk (WAL, `synchronous=NORMAL`): after a kill nothing
is lost, after a power failure the last commits may be, and are restored from the changelog. Readers
see the last commit and never wait for the writer.

At `open` the whole file is verified, because a damaged copy would be believed for ever. Each value
has its checksum, together with its key and its ranks; the sums of all those checksums, and of all
facts, stand in one row with the position that they belong to, so that what is missing, or is of
another moment, is noticed too; and what is listed by rank is exactly what the values' own ranks
say. While a store is open, every value that is read is verified again. What that can't notice is
a key that the disk loses meanwhile: the next `open` does.

Source: SQLite documentation, "Write-Ahead Logging", "Isolation In SQLite", "PRAGMA quick_check".
"""

from __future__ import annotations

import os
import re
import secrets
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zlib import crc32

import msgspec

from orderflow.messaging.error_text import error_text
from orderflow.messaging.errors import ConfigurationError, Unavailable
from orderflow.messaging.streams.store.store import (
    Changes,
    Entry,
    StoreDamaged,
    StorePosition,
    StoreTaken,
)
from orderflow.messaging.telemetry import logger

RESOURCE = "state store"
FORMAT = 2
"""Stands in the file's header, as SQLite's `user_version`; 0: a file that was just made."""
ASIDE_MAX = 3
"""How many files that were set aside are kept, for whoever wants to know why."""
BUSY_S = 5.0
IN_MAX = 500
"""Keys in one statement; the same number again and again, so that it is compiled once."""
READERS_MAX = 8
CACHE_KIB = 32 * 1024

_SUFFIXES = ("", "-wal", "-shm")
_NAME = re.compile(r"[a-z0-9][a-z0-9.-]*")

Ranks = Mapping[str, int]

log = logger("streams")


class SqliteStores:
    """
    State stores in one directory; see `store.StateStores`.

    Raises ConfigurationError when the directory can't be made or written. `open` and `set_aside`
    raise Unavailable when the disk refuses, or another process has the file for too long.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        try:
            directory.mkdir(parents=True, exist_ok=True)
            probe = directory / ".writable"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise ConfigurationError(
                f"state stores can't be kept in {directory}: {error.strerror or error}; "
                "choose a directory that this process may write to"
            ) from error

    def open(self, name: str) -> tuple[SqliteStore, str]:
        path = self._path(name)
        try:
            return SqliteStore(path), ""
        except StoreDamaged as error:
            return self.set_aside(name, str(error)), str(error)

    def set_aside(self, name: str, why: str) -> SqliteStore:
        path = self._path(name)
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")
        log.warning("a state store is set aside", file=str(path), why=why)
        with _errors(path):
            # The file itself first: SQLite drops a log that stands beside a new file.
            for suffix in _SUFFIXES:
                with suppress(FileNotFoundError):
                    Path(f"{path}{suffix}").rename(f"{path}.aside-{stamp}{suffix}")

            aside = f"{path.name}.aside-"
            kept = {file.name.split("-wal")[0].split("-shm")[0] for file in self._files(aside)}
            for old in sorted(kept)[:-ASIDE_MAX]:
                for suffix in _SUFFIXES:
                    (self._directory / f"{old}{suffix}").unlink(missing_ok=True)
        return SqliteStore(path)

    def _files(self, prefix: str) -> list[Path]:
        return [file for file in self._directory.iterdir() if file.name.startswith(prefix)]

    def _path(self, name: str) -> Path:
        assert _NAME.fullmatch(name), name
        return self._directory / f"{name}.sqlite"


class _Content(msgspec.Struct, frozen=True):
    """
    What a file must contain: the sums of the checksums of its entries and facts, at a position.
    """

    position: StorePosition = StorePosition()
    entries: int = 0
    facts: int = 0


class SqliteStore:
    """The writer of one file; see `store.Store`. Raises StoreDamaged when it can't be trusted."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._owner = secrets.token_bytes(16)
        with _errors(path):
            # Used on the container's thread alone, which is not the one that closes it at a stop.
            self._connection = _connect(path, "rwc")
            try:
                self._prepare()
                self._content = self._verified()
                self._inode = path.stat().st_ino
            except BaseException:
                self._connection.close()
                raise

    @property
    def position(self) -> StorePosition:
        return self._content.position

    @property
    def facts(self) -> int:
        with _errors(self._path):
            (count,) = self._connection.execute("SELECT COUNT(*) FROM facts").fetchone()
            return int(count)

    def values(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        with _errors(self._path):
            return {row[0]: _checked(*row) for row in self._among(_VALUES, keys)}

    def known(self, facts: Sequence[bytes]) -> set[bytes]:
        with _errors(self._path):
            return {row[0] for row in self._among(_KNOWN, facts)}

    def apply(self, changes: Changes) -> None:
        with _errors(self._path), self._transaction("IMMEDIATE"):
            content = self._write(changes)
        self._content = content

    def reader(self) -> SqliteReader:
        return SqliteReader(self._path, self._inode)

    def close(self) -> None:
        self._connection.close()

    def _prepare(self) -> None:
        """Make the file if it is new, and take it: an earlier owner can write nothing more."""
        connection = self._connection
        connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        connection.execute("PRAGMA synchronous = NORMAL")
        with self._transaction("DEFERRED"):
            self._refuse_others()
        connection.execute("PRAGMA page_size = 8192")
        connection.execute("PRAGMA journal_mode = WAL")

        # In one transaction: a process that is killed, or another one that opens the same new file,
        # meets all of it or nothing.
        with self._transaction("IMMEDIATE"):
            if self._refuse_others() == 0:
                for statement in _SCHEMA:
                    connection.execute(statement)
                self._put(_CONTENT, _encoded(_Content()))
                connection.execute(f"PRAGMA user_version = {FORMAT}")
            self._put(_OWNER, self._owner)

    def _refuse_others(self) -> int:
        """The format of the file, 0 if it is empty. Raises StoreDamaged if it is not ours."""
        (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        schema = [row[0] for row in self._connection.execute("SELECT sql FROM sqlite_master")]
        if version != (FORMAT if schema else 0):
            raise StoreDamaged(f"its format is {version}, not {FORMAT}")
        if schema and sorted(schema) != sorted(_SCHEMA):
            raise StoreDamaged("its tables are others")
        return FORMAT if schema else 0

    def _verified(self) -> _Content:
        """Read everything, at one moment. Raises StoreDamaged if it is not what was written."""
        connection = self._connection
        with self._transaction("DEFERRED"):
            (answer,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            if answer != "ok":
                raise StoreDamaged(str(answer).replace("\n", " "))

            content = _decoded(self._get(_CONTENT))
            entries, ranked = self._sums_of_entries()
            listed = _in_order(connection.execute("SELECT name, below, key FROM ranks"), _RANK)
            if ranked != sum(_rank_hash(*row) for row in listed):
                raise StoreDamaged("what is listed by rank is not what the values say")

            facts = _in_order(connection.execute("SELECT id FROM facts"), (bytes,))
            summed = _sum(fact for (fact,) in facts)
            if (entries, summed) != (content.entries, content.facts):
                raise StoreDamaged("the checksums of its values and facts do not add up")
        return content

    def _sums_of_entries(self) -> tuple[int, int]:
        """Of the checksums of all entries, and of their ranks."""
        entries = ranked = 0
        for row in _in_order(self._connection.execute(_ALL_VALUES), _ENTRY):
            _checked(*row)
            key, _value, ranks, checksum = row
            entries += checksum + 1
            if ranks:
                ranked += sum(_rank_hash(*listed) for listed in _rank_rows(key, ranks))
        return entries, ranked

    def _write(self, changes: Changes) -> _Content:
        connection = self._connection
        if self._get(_OWNER) != self._owner or not _is_file(self._path, self._inode):
            raise StoreTaken(
                f"another process has opened {self._path.name} since: this slot runs elsewhere"
            )

        # The file's own: this process may not know how its last commit has ended.
        before = _decoded(self._get(_CONTENT))
        summed = before.facts
        if changes.no_facts:
            connection.execute("DELETE FROM facts")
            summed = 0
        if changes.facts:
            # In the order of the keys: neighbours share pages.
            facts = sorted(changes.facts)
            connection.executemany("INSERT INTO facts VALUES (?)", [(fact,) for fact in facts])
            summed += _sum(facts)
        entries = before.entries + self._write_values(changes.values, changes.ranks)
        content = _Content(changes.position, entries, summed)
        self._put(_CONTENT, _encoded(content))
        return content

    def _write_values(
        self, values: Mapping[bytes, bytes | None], ranks: Mapping[bytes, Ranks]
    ) -> int:
        """Write values and their ranks; returns what that adds to the sum of the entries."""
        connection = self._connection
        keys = sorted(values)
        kept = [
            _entry(key, value, ranks.get(key, _NO_RANKS))
            for key in keys
            if (value := values[key]) is not None
        ]
        old = {key: (coded, checksum) for key, coded, checksum in self._among(_OLD, keys)}
        gone = [(key,) for key in old if values[key] is None]
        connection.executemany("DELETE FROM entries WHERE key = ?", gone)
        connection.executemany("INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?)", kept)

        were = {key: coded for key, (coded, _checksum) in old.items() if coded}
        are = {key: coded for key, _value, coded, _checksum in kept if coded}
        connection.executemany(
            "DELETE FROM ranks WHERE name = ? AND below = ? AND key = ?", _listed(were, besides=are)
        )
        connection.executemany("INSERT INTO ranks VALUES (?, ?, ?)", _listed(are, besides=were))
        before: int = sum(checksum + 1 for _coded, checksum in old.values())
        return sum(entry[3] + 1 for entry in kept) - before

    @contextmanager
    def _transaction(self, mode: str) -> Iterator[None]:
        self._connection.execute(f"BEGIN {mode}")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    def _get(self, name: str) -> object:
        row = self._connection.execute(_META, (name,)).fetchone()
        return row and row[0]

    def _put(self, name: str, value: bytes) -> None:
        self._connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))

    def _among(self, statement: str, keys: Sequence[bytes]) -> Iterator[Any]:
        for start in range(0, len(keys), IN_MAX):
            piece = list(keys[start : start + IN_MAX])
            # Filled up with its last key: one statement for every number of keys.
            piece += piece[-1:] * (IN_MAX - len(piece)) if len(piece) > IN_MAX // 8 else []
            places = ",".join("?" * len(piece))
            yield from self._connection.execute(statement.format(places), piece)


class SqliteReader:
    """
    Reads one file from any thread, see `store.StoreReader`: some connections that are read-only, of
    which each question has one for itself. Once the file is set aside, every question raises
    StoreDamaged.
    """

    def __init__(self, path: Path, inode: int) -> None:
        self._path = path
        self._inode = inode
        self._idle: list[sqlite3.Connection] = []
        self._lock = threading.Lock()
        self._free = threading.BoundedSemaphore(READERS_MAX)

    def get(self, key: bytes) -> tuple[bytes | None, StorePosition]:
        with self._snapshot() as connection:
            row = connection.execute(_VALUES.format("?"), (key,)).fetchone()
            return None if row is None else _checked(*row), _position_of(connection)

    def top(self, rank: str, limit: int) -> tuple[list[Entry], StorePosition]:
        with self._snapshot() as connection:
            rows = connection.execute(_TOP, (rank, limit)).fetchall()
            entries = [Entry(row[0], _checked(*row)) for *row, _below in rows]
            for key, _value, ranks, _sum_of_it, below in rows:
                if _ranks(ranks).get(rank) != ~below:
                    raise StoreDamaged(f"{key!r} is listed by a rank that it does not have")
            return entries, _position_of(connection)

    def between(self, first: bytes, last: bytes, limit: int) -> tuple[list[Entry], StorePosition]:
        with self._snapshot() as connection:
            rows = connection.execute(_BETWEEN, (first, last, limit)).fetchall()
            return [Entry(row[0], _checked(*row)) for row in rows], _position_of(connection)

    def close(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    @contextmanager
    def _snapshot(self) -> Iterator[sqlite3.Connection]:
        """A connection inside a transaction: everything that it reads is of one moment."""
        with self._free, _errors(self._path):
            connection = self._take()
            try:
                connection.execute("BEGIN")
                yield connection
                connection.execute("COMMIT")
                self._refuse_another_file()
            except BaseException:
                connection.close()
                raise
            with self._lock:
                self._idle.append(connection)

    def _refuse_another_file(self) -> None:
        # After the reading: then the file of that name was the same before, too. What was set aside
        # is kept, so nothing new has its number.
        if not _is_file(self._path, self._inode):
            raise StoreDamaged(f"{self._path.name} was set aside")

    def _take(self) -> sqlite3.Connection:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        return _connect(self._path, "ro")


@contextmanager
def _errors(path: Path) -> Iterator[None]:
    """SQLite's errors as ours: time heals what the disk refuses, nothing heals a damaged file."""
    try:
        yield
    except sqlite3.ProgrammingError:
        # A mistake of the caller, as to use what it has closed.
        raise
    except sqlite3.OperationalError as error:
        # Without a code: the library could not read a text.
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT)
        # A file that says of itself that it is only to be read was damaged.
        is_odd = code == sqlite3.SQLITE_READONLY and os.access(path, os.W_OK)
        if code & 0xFF in _DAMAGED or code in _UNREADABLE or is_odd:
            raise StoreDamaged(f"{path.name}: {error_text(error)}") from error
        raise Unavailable(
            f"{path}: {error_text(error)}{_HINTS.get(code & 0xFF, '')}", resource=RESOURCE
        ) from error
    except OSError as error:
        raise Unavailable(f"{path}: {error.strerror or error}", resource=RESOURCE) from error
    except (sqlite3.DatabaseError, UnicodeDecodeError, msgspec.DecodeError) as error:
        raise StoreDamaged(f"{path.name}: {error_text(error)}") from error


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=BUSY_S,
        isolation_level=None,
        check_same_thread=False,
    )


def _is_file(path: Path, inode: int) -> bool:
    try:
        return path.stat().st_ino == inode
    except FileNotFoundError:
        return False


def _checked(key: bytes, value: bytes, ranks: bytes, checksum: int) -> bytes:
    # A damaged file may have anything in any column.
    if not (type(key) is type(value) is type(ranks) is bytes):
        raise StoreDamaged("a value is not of its type")
    if _checksum(key, value, ranks) != checksum:
        raise StoreDamaged("the checksum of a value does not fit")
    return value


def _checksum(key: bytes, value: bytes, ranks: bytes) -> int:
    # Begins with the lengths: the same bytes, divided otherwise, are another entry.
    return crc32(ranks, crc32(value, crc32(key, len(key) << 24 ^ len(value))))


def _entry(key: bytes, value: bytes, ranks: Ranks) -> tuple[bytes, bytes, bytes, int]:
    """A row of `entries`."""
    coded = _JSON.encode(ranks) if ranks else b""
    return key, value, coded, _checksum(key, value, coded)


def _listed(
    coded: Mapping[bytes, bytes], *, besides: Mapping[bytes, bytes]
) -> list[tuple[str, int, bytes]]:
    """Rows of `ranks`, in their order, for those keys whose ranks are not the same in `besides`."""
    return sorted(
        row
        for key, ranks in coded.items()
        if besides.get(key) != ranks
        for row in _rank_rows(key, ranks)
    )


def _sum(facts: Iterable[Any]) -> int:
    """Of facts in any order; another one if any is missing or is not what it was."""
    try:
        return sum(crc32(fact) + 1 for fact in facts)
    except TypeError as error:
        raise StoreDamaged("a fact is not of its type") from error


def _rank_rows(key: bytes, ranks: bytes) -> list[tuple[str, int, bytes]]:
    """A key's rows of `ranks`. `~score`: the highest are the first, without a column that is DESC,
    which a flipped bit of the file's header would turn round."""
    return [(name, ~score, key) for name, score in _ranks(ranks).items()]


def _rank_hash(name: str, below: int, key: bytes) -> int:
    # As text: the hash of -1 is that of -2.
    return hash((name, str(below), key))


def _in_order(rows: Iterable[Any], types: tuple[type[Any], ...]) -> Iterator[Any]:
    """Rows of these types in the order of their keys: what stands elsewhere would not be found."""
    before = None
    for row in rows:
        if tuple(map(type, row)) != types or (before is not None and before >= row):
            raise StoreDamaged("its rows are not in order")
        before = row
        yield row


def _ranks(coded: bytes) -> dict[str, int]:
    return _RANKS.decode(coded) if coded else {}


def _position_of(connection: sqlite3.Connection) -> StorePosition:
    row = connection.execute(_META, (_CONTENT,)).fetchone()
    return _decoded(row and row[0]).position


def _encoded(content: _Content) -> bytes:
    body = _JSON.encode(content)
    return crc32(body).to_bytes(4, "big") + body


def _decoded(stored: object) -> _Content:
    if not isinstance(stored, bytes) or crc32(stored[4:]) != int.from_bytes(stored[:4], "big"):
        raise StoreDamaged("its position can't be read")
    return _CONTENTS.decode(stored[4:])


_JSON = msgspec.json.Encoder()
_RANKS = msgspec.json.Decoder(dict[str, int])
_CONTENTS = msgspec.json.Decoder(_Content)
_NO_RANKS: Ranks = {}
_ENTRY, _RANK = (bytes, bytes, bytes, int), (str, int, bytes)
_CONTENT, _OWNER = "content", "owner"

_DAMAGED = {
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_SCHEMA,
    sqlite3.SQLITE_ERROR,
}
"""An error in SQL that is right says that the file's schema is not."""
_UNREADABLE = {
    sqlite3.SQLITE_IOERR_READ,
    sqlite3.SQLITE_IOERR_SHORT_READ,
    sqlite3.SQLITE_IOERR_CORRUPTFS,
}
_HINTS = {
    sqlite3.SQLITE_FULL: "; make room on that disk",
    sqlite3.SQLITE_IOERR: "; see whether the disk is full or broken",
    sqlite3.SQLITE_READONLY: "; let this process write there",
    sqlite3.SQLITE_CANTOPEN: "; see whether it is there, and let this process read and write there",
    sqlite3.SQLITE_BUSY: "; another process holds it",
}

_SCHEMA = (
    "CREATE TABLE entries (key BLOB PRIMARY KEY, value BLOB, ranks BLOB, sum INT) WITHOUT ROWID",
    "CREATE TABLE ranks (name, below, key, PRIMARY KEY (name, below, key)) WITHOUT ROWID",
    "CREATE TABLE facts (id BLOB PRIMARY KEY) WITHOUT ROWID",
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID",
)
_META = "SELECT value FROM meta WHERE name = ?"
_VALUES = "SELECT key, value, ranks, sum FROM entries WHERE key IN ({})"
_OLD = "SELECT key, ranks, sum FROM entries WHERE key IN ({})"
_KNOWN = "SELECT id FROM facts WHERE id IN ({})"
_ALL_VALUES = "SELECT key, value, ranks, sum FROM entries"
_BETWEEN = (
    "SELECT key, value, ranks, sum FROM entries WHERE key >= ? AND key < ? ORDER BY key LIMIT ?"
)
_TOP = """
SELECT ranks.key, value, entries.ranks, sum, below
FROM ranks LEFT JOIN entries ON entries.key = ranks.key
WHERE name = ? ORDER BY below, ranks.key LIMIT ?
"""
