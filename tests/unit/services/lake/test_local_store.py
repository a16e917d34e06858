"""A directory as a store: whole objects or none, versions compared, failures in words."""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import time
from pathlib import Path

import pytest

from orderflow.messaging.errors import Unavailable
from orderflow.services.lake import local_store
from orderflow.services.lake.local_store import LEFT_OVER_S, LOCK, WRITING, LocalStore

NAME = "payments/date=2026-01-31/hour=09/payments-0-00000000000000000000.parquet"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "lake"


@pytest.fixture
def store(root: Path) -> LocalStore:
    store = LocalStore(root)
    store.prepare()
    return store


def visible(root: Path) -> list[str]:
    """What a reader's pattern finds, wherever it begins."""
    return [path.relative_to(root).as_posix() for path in root.rglob("*.parquet")]


def written_aside(root: Path) -> list[Path]:
    return [*(root / WRITING).iterdir()]


def test_what_is_written_is_read(store: LocalStore, root: Path) -> None:
    assert store.read(NAME) is None
    assert store.write(NAME, b"one", replacing=None)
    content = store.read(NAME)
    assert content is not None
    assert content.body == b"one"
    assert store.versions("payments") == {NAME: content.version}
    assert (visible(root), written_aside(root)) == ([NAME], [])


def test_only_the_version_that_was_read_is_replaced(store: LocalStore, root: Path) -> None:
    assert store.write(NAME, b"one", replacing=None)
    first = store.read(NAME)
    assert first is not None
    assert not store.write(NAME, b"two", replacing=None)
    # The same length: a version is not the size.
    assert store.write(NAME, b"two", replacing=first.version)
    assert not store.write(NAME, b"six", replacing=first.version)
    second = store.read(NAME)
    assert second is not None
    assert (second.body, written_aside(root)) == (b"two", [])


def fails_with(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def fsync(_handle: int) -> None:
        raise OSError(number, os.strerror(number), "/secret/place")

    monkeypatch.setattr(os, "fsync", fsync)


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.ENOSPC, "its disk is full"),
        (errno.EROFS, "it is read-only"),
        (errno.EACCES, "it may not be written"),
        (errno.EIO, "away"),
    ],
)
def test_a_write_that_fails_is_in_words_and_leaves_nothing(
    store: LocalStore, root: Path, monkeypatch: pytest.MonkeyPatch, number: int, reason: str
) -> None:
    assert store.write(NAME, b"one", replacing=None)
    before = store.read(NAME)
    assert before is not None
    fails_with(monkeypatch, number)
    with pytest.raises(Unavailable) as caught:
        store.write(NAME, b"two", replacing=before.version)
    assert (caught.value.resource, caught.value.reason) == ("store", reason)
    assert "secret" not in str(caught.value)
    assert (store.read(NAME), written_aside(root)) == (before, [])


def test_a_write_that_breaks_off_in_the_middle_is_not_seen(store: LocalStore, root: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, hard))
    try:
        with pytest.raises(Unavailable):
            store.write(NAME, b"x" * 10_000, replacing=None)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (store.read(NAME), visible(root), written_aside(root)) == (None, [], [])


def test_a_root_that_is_gone_is_not_made_again_by_a_write(store: LocalStore, root: Path) -> None:
    """Where a disk was mounted, and is not, rows would go to another disk."""
    root.rename(root.with_name("unmounted"))
    with pytest.raises(Unavailable) as caught:
        store.write(NAME, b"one", replacing=None)
    assert caught.value.reason == "its directory is not there"
    assert not root.exists()


def test_a_root_is_made_only_in_a_directory_that_is_there(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="lake's store"):
        LocalStore(tmp_path / "not" / "mounted").prepare()


def test_what_a_kill_left_is_removed_once_it_is_old(store: LocalStore, root: Path) -> None:
    old, young = (root / WRITING / f"{name}.part" for name in ("old", "young"))
    for left in (old, young):
        left.write_bytes(b"half")
    long_ago = time.time() - LEFT_OVER_S - 1
    os.utime(old, (long_ago, long_ago))
    store.prepare()
    assert written_aside(root) == [young]
    assert visible(root) == []


def test_a_lock_that_nobody_releases_is_told_and_harms_nothing(
    store: LocalStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_store, "LOCK_WITHIN_S", 0.02)
    with (root / LOCK).open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(Unavailable) as caught:
            store.write(NAME, b"one", replacing=None)
    assert caught.value.reason == "another process holds its lock"
    assert store.write(NAME, b"one", replacing=None)
    assert written_aside(root) == []
