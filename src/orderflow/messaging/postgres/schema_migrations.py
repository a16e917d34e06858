"""Migrations: SQL files that are applied once each, in their order."""

from __future__ import annotations

import glob
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import yoyo
from psycopg.conninfo import conninfo_to_dict

from orderflow.messaging.postgres.bounded_connection import ANSWER_WITHIN_S
from orderflow.messaging.postgres.connection import (
    Connection,
    conninfo,
    silence,
    unavailable_when_transient,
)

MIGRATION_LOCK_WAIT_MS = 60_000

# "orderflo": one number for all services; an advisory lock is per database anyway.
_MIGRATION_LOCK = 0x6F72_6465_7266_6C6F


def migrate(dsn: str, directory: Path) -> list[str]:
    """
    Apply the missing migrations of `directory` (`NNNN.name.sql`), each in its own transaction.

    Returns the ids of those that it applied, in order. Several processes may call it at once: an
    advisory lock lets one work, the others wait up to 60 s and find nothing to do. After a kill the
    next call continues after the last commit. Raises Unavailable when the database can't be
    reached, or the lock is not free in time.
    """
    with _one_at_a_time(dsn), yoyo.get_backend(_yoyo_url(dsn)) as backend:
        # Ours is the advisory lock; a row in yoyo's lock table can only be left over from a kill.
        backend.break_lock()
        missing = backend.to_apply(_read(directory))
        applied = [migration.id for migration in missing]
        backend.apply_migrations(missing)
    return applied


def pending(dsn: str, directory: Path) -> list[str]:
    """
    The ids of the migrations that `migrate` would apply.

    Writes nothing but the migration library's own tables.
    """
    with _one_at_a_time(dsn), yoyo.get_backend(_yoyo_url(dsn)) as backend:
        return [migration.id for migration in backend.to_apply(_read(directory))]


def _read(directory: Path) -> Any:
    # The library takes a pattern, and a directory may have brackets in its name.
    return yoyo.read_migrations(glob.escape(str(directory)))


@contextmanager
def _one_at_a_time(dsn: str) -> Iterator[None]:
    session = {"lock_timeout": str(MIGRATION_LOCK_WAIT_MS)}
    target = conninfo(dsn, application_name="migrate", session=session)
    with unavailable_when_transient():
        lock = Connection.connect(target, autocommit=True)
    lock.answer_within_s = MIGRATION_LOCK_WAIT_MS / 1000 + ANSWER_WITHIN_S
    with lock, unavailable_when_transient():
        lock.execute("SELECT pg_advisory_lock(%s)", (_MIGRATION_LOCK,))
        yield


def _yoyo_url(dsn: str) -> str:
    """yoyo accepts URLs only; the driver takes every libpq parameter from the URL's query."""
    theirs = conninfo_to_dict(dsn)
    # How long a migration may take is its author's to say, so only the kernel watches over it.
    return f"postgresql+psycopg:///?{urlencode({**theirs, **silence(theirs)})}"
