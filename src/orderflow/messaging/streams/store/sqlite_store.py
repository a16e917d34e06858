"""
State stores on disk: one SQLite file for each table and partition.

The writer commits without waiting for the disk (WAL, `synchronous=NORMAL`): after a kill nothing
is lost, after a power failure the last commits may be, and are restored from the changelog. Readers
see the last commit and never wait for the writer. Each value has its checksum, and so have all
facts together; at `open` the whole file is verified, because a damaged copy would be believed for
ever.

Source: SQLite documentation, "Write-Ahead Logging", "Isolation In SQLite".
"""

from __future__ import annotations

import re
import secrets
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zlib import crc32

import msgspec

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
FORMAT = 1
ASIDE_MAX = 3
"""How many files that were set aside are kept, for whoever wants to know why."""
BUSY_S = 5.0
IN_MAX = 500
"""Keys in one statement; the same number again and again, so that it is compiled once."""
READERS_MAX = 8
CACHE_KIB = 32 * 1024

_SUFFIXES = ("", "-wal", "-shm")
_NAME = re.compile(r"[a-z0-9][a-z0-9.-]*")

log = logger("streams")


class SqliteStores:
    """
    State stores in one directory; see `store.StateStores`.

    Raises ConfigurationError when the directory can't be made or written.
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
        for suffix in _SUFFIXES:
            with suppress(FileNotFoundError):
                Path(f"{path}{suffix}").rename(f"{path}.aside-{stamp}{suffix}")

        kept = sorted(self._directory.glob(f"{path.name}.aside-*"))
        main = [file for file in kept if not file.name.endswith(("-wal", "-shm"))]
        for old in main[:-ASIDE_MAX]:
            for suffix in _SUFFIXES:
                Path(f"{old}{suffix}").unlink(missing_ok=True)
        return SqliteStore(path)

    def _path(self, name: str) -> Path:
        assert _NAME.fullmatch(name), name
        return self._directory / f"{name}.sqlite"


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
            except BaseException:
                self._connection.close()
                raise

    @property
    def position(self) -> StorePosition:
        return self._position

    @property
    def facts(self) -> int:
        with _errors(self._path):
            (count,) = self._connection.execute("SELECT COUNT(*) FROM facts").fetchone()
            return int(count)

    def values(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        with _errors(self._path):
            values: dict[bytes, bytes] = {}
            for key, value, checksum in self._among(_VALUES, keys):
                values[key] = _checked(key, value, checksum)
            return values

    def known(self, facts: Sequence[bytes]) -> set[bytes]:
        with _errors(self._path):
            return {row[0] for row in self._among(_KNOWN, facts)}

    def apply(self, changes: Changes) -> None:
        with _errors(self._path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                self._write(changes)
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
        self._position = changes.position

    def reader(self) -> SqliteReader:
        return SqliteReader(self._path)

    def close(self) -> None:
        self._connection.close()

    def _prepare(self) -> None:
        connection = self._connection
        connection.execute("PRAGMA page_size = 8192")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        connection.executescript(_SCHEMA)

        meta = dict(connection.execute("SELECT name, value FROM meta"))
        if not meta:
            connection.executemany(
                "INSERT INTO meta VALUES (?, ?)",
                [("format", FORMAT), ("position", _encoded(StorePosition())), ("facts", 0)],
            )
            meta = dict(connection.execute("SELECT name, value FROM meta"))
        elif meta.get("format") != FORMAT:
            raise StoreDamaged(f"its format is {meta.get('format')}, not {FORMAT}")
        self._position = _decoded(meta.get("position"))
        self._verify(meta.get("facts"))

        # From here on an earlier owner can write nothing more: see `apply`.
        connection.execute("INSERT OR REPLACE INTO meta VALUES ('owner', ?)", (self._owner,))

    def _verify(self, facts: object) -> None:
        """Read everything. Raises StoreDamaged if anything is not what was written."""
        connection = self._connection
        (answer,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if answer != "ok":
            raise StoreDamaged(str(answer).replace("\n", " "))

        for key, value, checksum in connection.execute(_ALL_VALUES):
            _checked(key, value, checksum)
        for key, name, score, checksum in connection.execute(_ALL_RANKS):
            if crc32(f"{name}\0{score}".encode(), crc32(key)) != checksum:
                raise StoreDamaged("the checksum of a rank does not fit")
        summed = sum(crc32(fact) + 1 for (fact,) in connection.execute("SELECT id FROM facts"))
        if summed != facts:
            raise StoreDamaged("the checksum of the facts does not fit")

    def _write(self, changes: Changes) -> None:
        connection = self._connection
        meta = dict(connection.execute("SELECT name, value FROM meta WHERE name <> 'position'"))
        if meta["owner"] != self._owner:
            raise StoreTaken(
                f"another process has opened {self._path.name} since: this slot runs elsewhere"
            )

        summed: int = meta["facts"]
        if changes.no_facts:
            connection.execute("DELETE FROM facts")
            summed = 0
        if changes.facts:
            # In the order of the keys: neighbours share pages.
            facts = sorted(changes.facts)
            connection.executemany("INSERT INTO facts VALUES (?)", [(fact,) for fact in facts])
            summed += sum(crc32(fact) + 1 for fact in facts)
        self._write_values(changes.values, changes.ranks)
        connection.executemany(
            "UPDATE meta SET value = ? WHERE name = ?",
            [(_encoded(changes.position), "position"), (summed, "facts")],
        )

    def _write_values(
        self, values: Mapping[bytes, bytes | None], ranks: Mapping[bytes, Mapping[str, int]]
    ) -> None:
        connection = self._connection
        keys = sorted(values)
        gone = [(key,) for key in keys if values[key] is None]
        kept = [(key, value, crc32(value, crc32(key))) for key in keys if (value := values[key])]
        if gone:
            connection.executemany("DELETE FROM entries WHERE key = ?", gone)
        connection.executemany("INSERT OR REPLACE INTO entries VALUES (?, ?, ?)", kept)

        if ranks:
            connection.executemany("DELETE FROM ranks WHERE key = ?", [(key,) for key in keys])
            connection.executemany(
                "INSERT INTO ranks VALUES (?, ?, ?, ?)",
                [
                    (key, name, score, crc32(f"{name}\0{score}".encode(), crc32(key)))
                    for key in keys
                    for name, score in ranks.get(key, {}).items()
                ],
            )

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
    which each question has one for itself.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
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
            return [Entry(row[0], _checked(*row)) for row in rows], _position_of(connection)

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
            except BaseException:
                connection.close()
                raise
            with self._lock:
                self._idle.append(connection)

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
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF in _DAMAGED:
            raise StoreDamaged(f"{path.name}: {error}") from error
        raise Unavailable(
            f"{path}: {error}; see whether the disk is full or the file may not be written",
            resource=RESOURCE,
        ) from error
    except (sqlite3.DatabaseError, UnicodeDecodeError, msgspec.DecodeError) as error:
        raise StoreDamaged(f"{path.name}: {error}") from error


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=BUSY_S,
        isolation_level=None,
        check_same_thread=False,
    )


def _checked(key: bytes, value: bytes, checksum: int) -> bytes:
    if crc32(value, crc32(key)) != checksum:
        raise StoreDamaged("the checksum of a value does not fit")
    return value


def _position_of(connection: sqlite3.Connection) -> StorePosition:
    row = connection.execute("SELECT value FROM meta WHERE name = 'position'").fetchone()
    return _decoded(row and row[0])


def _encoded(position: StorePosition) -> bytes:
    body = msgspec.json.encode(position)
    return crc32(body).to_bytes(4, "big") + body


def _decoded(stored: object) -> StorePosition:
    if not isinstance(stored, bytes) or crc32(stored[4:]) != int.from_bytes(stored[:4], "big"):
        raise StoreDamaged("its position can't be read")
    return msgspec.json.decode(stored[4:], type=StorePosition)


_DAMAGED = {
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_SCHEMA,
    sqlite3.SQLITE_ERROR,
}
"""An error in SQL that is right says that the file's schema is not."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS entries (key BLOB PRIMARY KEY, value BLOB, checksum INT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS facts (id BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS ranks (
    key BLOB, name TEXT, score INT, checksum INT, PRIMARY KEY (key, name)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS ranks_by_score ON ranks (name, score DESC, key);
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
"""
_VALUES = "SELECT key, value, checksum FROM entries WHERE key IN ({})"
_KNOWN = "SELECT id FROM facts WHERE id IN ({})"
_ALL_VALUES = "SELECT key, value, checksum FROM entries"
_ALL_RANKS = "SELECT key, name, score, checksum FROM ranks"
_BETWEEN = (
    "SELECT key, value, checksum FROM entries WHERE key >= ? AND key < ? ORDER BY key LIMIT ?"
)
_TOP = """
SELECT key, value, entries.checksum FROM ranks JOIN entries USING (key)
WHERE name = ? ORDER BY score DESC, key LIMIT ?
"""
