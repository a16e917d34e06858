"""A store on disk that is damaged, cut, mixed or locked: it never says what was not written."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orderflow.messaging.errors import ConfigurationError, Unavailable
from orderflow.messaging.streams.store.sqlite_store import ASIDE_MAX, SqliteStore, SqliteStores
from orderflow.messaging.streams.store.store import (
    ChangelogPosition,
    Changes,
    StoreDamaged,
    StorePosition,
)
from orderflow.messaging.testing.eventually import eventually

NAME = "table-0"
PAGE = 8192
SEEDS = 300
COUNT = 600
KEYS = [b"customer-%04d" % number for number in range(COUNT)]
ABSENT = [b"", b"customer-", b"customer-00005", b"customer-9999", b"\xff"]
FACTS = [random.Random(number).randbytes(16) for number in range(COUNT)]
UNKNOWN = [random.Random(COUNT + number).randbytes(16) for number in range(20)]


def at(offset: int) -> StorePosition:
    return StorePosition((ChangelogPosition("log", "topic-id", offset),), input=offset * 10)


def value(number: int, version: int = 1) -> bytes:
    return b"%d of customer %d " % (version, number) * 8


def score(number: int) -> int:
    return (number * 7919) % COUNT - COUNT // 2


def written(directory: Path, *, close: bool = True) -> SqliteStore:
    """A store of several pages in each of its trees."""
    store, _why = SqliteStores(directory).open(NAME)
    for start in range(0, COUNT, 100):
        numbers = range(start, start + 100)
        store.apply(
            Changes(
                values={KEYS[number]: value(number) for number in numbers},
                ranks={KEYS[number]: {"EUR": score(number)} for number in numbers},
                facts=[FACTS[number] for number in numbers],
                position=at(start + 100),
            )
        )
    if close:
        store.close()
    return store


Everything = tuple[object, ...]


def everything(store: SqliteStore) -> Everything:
    """All that a store says, in every way to ask for it."""
    reader = store.reader()
    try:
        ordered, position = reader.between(b"", b"\xff", COUNT * 2)
        top, _ = reader.top("EUR", COUNT * 2)
        few, _ = reader.top("EUR", 5)
        return (
            store.values([*KEYS, *ABSENT]),
            store.known([*FACTS, *UNKNOWN]),
            [(entry.key, entry.value) for entry in ordered],
            [(entry.key, entry.value) for entry in top],
            [(entry.key, entry.value) for entry in few],
            reader.top("USD", 5)[0],
            store.position,
            position,
        )
    finally:
        reader.close()


def content(numbers: range) -> Everything:
    """What `everything` is of a store with these customers."""
    values = [(KEYS[number], value(number)) for number in numbers]
    by_rank = sorted(numbers, key=lambda number: (-score(number), KEYS[number]))
    top = [(KEYS[number], value(number)) for number in by_rank]
    position = at(len(numbers)) if numbers else StorePosition()
    facts = {FACTS[number] for number in numbers}
    return dict(values), facts, values, top, top[:5], [], position, position


EMPTY, FULL = content(range(0)), content(range(COUNT))


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    directory = tmp_path_factory.mktemp("original")
    written(directory)
    return (directory / f"{NAME}.sqlite").read_bytes()


def judged(directory: Path) -> tuple[Everything, str]:
    """What a store says when it is opened, and why the one before was set aside."""
    store, why = SqliteStores(directory).open(NAME)
    try:
        return everything(store), why
    finally:
        store.close()


def flip_a_bit(data: bytearray, chance: random.Random) -> None:
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def flip_bytes(data: bytearray, chance: random.Random) -> None:
    for _ in range(chance.randrange(1, 5)):
        data[chance.randrange(len(data))] = chance.randrange(256)


def flip_bits_of_the_first_page(data: bytearray, chance: random.Random) -> None:
    data[chance.randrange(100)] ^= 1 << chance.randrange(8)


def flip_bits_of_a_pages_head(data: bytearray, chance: random.Random) -> None:
    page = chance.randrange(len(data) // PAGE)
    data[page * PAGE + chance.randrange(64)] ^= 1 << chance.randrange(8)


def zero_a_page(data: bytearray, chance: random.Random) -> None:
    start = chance.randrange(len(data) // PAGE) * PAGE
    data[start : start + PAGE] = bytes(PAGE)


def zero_a_sector(data: bytearray, chance: random.Random) -> None:
    start = chance.randrange(len(data) // 512) * 512
    data[start : start + 512] = bytes(512)


def copy_a_page_over_another(data: bytearray, chance: random.Random) -> None:
    source, target = (chance.randrange(len(data) // PAGE) * PAGE for _ in range(2))
    data[target : target + PAGE] = data[source : source + PAGE]


def swap_two_bytes(data: bytearray, chance: random.Random) -> None:
    first, second = chance.randrange(len(data)), chance.randrange(len(data))
    data[first], data[second] = data[second], data[first]


def cut(data: bytearray, chance: random.Random) -> None:
    del data[chance.randrange(len(data)) :]


def cut_between_pages(data: bytearray, chance: random.Random) -> None:
    del data[chance.randrange(len(data) // PAGE) * PAGE :]


def garbage(data: bytearray, chance: random.Random) -> None:
    data[:] = chance.randbytes(chance.randrange(1, 20_000))


@pytest.mark.parametrize(
    "damage",
    [
        flip_a_bit,
        flip_bytes,
        flip_bits_of_the_first_page,
        flip_bits_of_a_pages_head,
        zero_a_page,
        zero_a_sector,
        copy_a_page_over_another,
        swap_two_bytes,
        cut,
        cut_between_pages,
        garbage,
    ],
)
def test_a_damaged_file_is_right_in_everything_or_is_set_aside(
    tmp_path: Path, original: bytes, damage: Callable[[bytearray, random.Random], None]
) -> None:
    aside = 0
    for seed in range(SEEDS // 10):
        data = bytearray(original)
        damage(data, random.Random(seed))
        directory = tmp_path / str(seed)
        directory.mkdir()
        (directory / f"{NAME}.sqlite").write_bytes(data)

        said, why = judged(directory)
        # A file that was cut to nothing is a new one.
        assert said == (EMPTY if why or not data else FULL), f"seed {seed}: {why}"
        aside += bool(why)
        assert len(list(directory.glob("*.aside-*[0-9]"))) == bool(why)
        shutil.rmtree(directory)
    assert aside > 0


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM entries WHERE key = (SELECT key FROM entries LIMIT 1 OFFSET 50)",
        "DELETE FROM entries",
        "DELETE FROM ranks WHERE key = (SELECT key FROM ranks LIMIT 1 OFFSET 50)",
        "DELETE FROM ranks",
        "INSERT INTO ranks SELECT 'EUR', -17, key FROM entries LIMIT 1",
        "INSERT INTO ranks SELECT 'USD', below, key FROM ranks LIMIT 1",
        "UPDATE ranks SET below = -2 WHERE below = -1",
        "UPDATE ranks SET below = below + 1000 WHERE key = (SELECT key FROM ranks LIMIT 1)",
        "UPDATE ranks SET key = CAST(key AS TEXT)",
        "UPDATE ranks SET below = CAST(below AS REAL)",
        "DELETE FROM facts WHERE id = (SELECT id FROM facts LIMIT 1 OFFSET 50)",
        "INSERT INTO facts VALUES (zeroblob(16))",
        "UPDATE facts SET id = 7 WHERE id = (SELECT id FROM facts LIMIT 1)",
        "UPDATE entries SET value = value || x'00' WHERE key = (SELECT min(key) FROM entries)",
        "UPDATE entries SET value = 7 WHERE key = (SELECT min(key) FROM entries)",
        "UPDATE entries SET value = NULL WHERE key = (SELECT min(key) FROM entries)",
        "UPDATE entries SET value = CAST(x'c3' AS TEXT)",
        "UPDATE entries SET ranks = x'7b7d' WHERE key = (SELECT min(key) FROM entries)",
        "UPDATE entries SET key = key || x'00' WHERE key = (SELECT max(key) FROM entries)",
        "UPDATE meta SET value = substr(value, 1, 40) WHERE name = 'content'",
        "UPDATE meta SET value = 7 WHERE name = 'content'",
        "DELETE FROM meta",
        "DROP TABLE facts",
        "DROP TABLE meta",
        "PRAGMA user_version = 1",
        "PRAGMA user_version = 0",
    ],
)
def test_a_file_that_is_whole_but_has_other_rows_is_set_aside(
    tmp_path: Path, statement: str
) -> None:
    """As when the disk lost a write, or a page of another moment came back."""
    written(tmp_path)
    with sqlite3.connect(tmp_path / f"{NAME}.sqlite") as connection:
        before = connection.total_changes
        connection.execute(statement)
        assert connection.total_changes > before or statement.startswith(("DROP", "PRAGMA"))
    connection.close()
    said, why = judged(tmp_path)
    assert why
    assert said == EMPTY


def test_a_database_of_something_else_is_set_aside_unchanged(tmp_path: Path) -> None:
    path = tmp_path / f"{NAME}.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE theirs (id)")
    connection.close()
    data = path.read_bytes()
    said, why = judged(tmp_path)
    assert why == "its format is 0, not 2"
    assert said == EMPTY
    assert next(tmp_path.glob("*.aside-*")).read_bytes() == data


@pytest.mark.parametrize("suffix", ["-wal", "-shm"])
@pytest.mark.parametrize("how", ["deleted", "garbage", "bits", "cut"])
def test_a_store_whose_log_was_lost_has_a_whole_prefix_or_is_set_aside(
    tmp_path: Path, suffix: str, how: str
) -> None:
    store = written(tmp_path, close=False)
    for seed in range(8):
        chance = random.Random(seed)
        copy = tmp_path / str(seed)
        copy.mkdir()
        for file in tmp_path.glob(f"{NAME}.sqlite*"):
            shutil.copy(file, copy)
        log = copy / f"{NAME}.sqlite{suffix}"
        data = bytearray(log.read_bytes())
        if how == "deleted":
            log.unlink()
        elif how == "garbage":
            log.write_bytes(chance.randbytes(50_000))
        elif how == "cut":
            log.write_bytes(data[: chance.randrange(len(data))])
        else:
            flip_bytes(data, chance)
            log.write_bytes(data)

        said, why = judged(copy)
        prefixes = [content(range(count)) for count in range(0, COUNT + 1, 100)]
        assert said == EMPTY if why else said in prefixes
    store.close()


def test_pages_of_two_moments_are_not_one_store(tmp_path: Path) -> None:
    """Each page is whole, and so is each moment; together they are no state that there ever was."""
    path = tmp_path / f"{NAME}.sqlite"
    written(tmp_path)
    first = path.read_bytes()
    store, _why = SqliteStores(tmp_path).open(NAME)
    store.apply(
        Changes(
            values={key: value(number, 2) for number, key in enumerate(KEYS)},
            ranks={key: {"EUR": score(number)} for number, key in enumerate(KEYS)},
            position=at(COUNT),
        )
    )
    store.close()
    second = path.read_bytes()
    assert len(second) == len(first)

    mixed = 0
    for page in range(len(first) // PAGE):
        start, end = page * PAGE, (page + 1) * PAGE
        if first[start:end] != second[start:end]:
            path.write_bytes(second[:start] + first[start:end] + second[end:])
            said, why = judged(tmp_path)
            assert why, page
            assert said == EMPTY
            mixed += 1
    assert mixed > 5


def test_a_value_that_is_damaged_while_its_store_is_open_is_noticed_by_whoever_reads_it(
    tmp_path: Path, original: bytes
) -> None:
    path = tmp_path / f"{NAME}.sqlite"
    for seed in range(40):
        chance = random.Random(seed)
        path.write_bytes(original)
        store, why = SqliteStores(tmp_path).open(NAME)
        assert why == ""
        number = chance.randrange(COUNT)
        where = original.index(value(number)) + chance.randrange(len(value(number)))
        with path.open("r+b") as file:
            file.seek(where)
            file.write(bytes([original[where] ^ 1 << chance.randrange(8)]))

        reader = store.reader()
        with pytest.raises(StoreDamaged):
            reader.get(KEYS[number])
        with pytest.raises(StoreDamaged):
            reader.between(KEYS[number], KEYS[number] + b"\0", 1)
        with pytest.raises(StoreDamaged):
            reader.top("EUR", COUNT)
        reader.close()
        store.close()


def test_a_list_by_rank_that_is_damaged_while_it_is_open_is_noticed(tmp_path: Path) -> None:
    store = written(tmp_path, close=False)
    reader = store.reader()
    with sqlite3.connect(tmp_path / f"{NAME}.sqlite") as connection:
        connection.execute("UPDATE ranks SET below = -5000 WHERE key = ?", (KEYS[0],))
    with pytest.raises(StoreDamaged, match="rank"):
        reader.top("EUR", 5)
    connection.execute("DELETE FROM entries WHERE key = ?", (KEYS[0],))
    connection.commit()
    connection.close()
    with pytest.raises(StoreDamaged):
        reader.top("EUR", 5)
    reader.close()
    store.close()


def test_the_files_of_the_last_three_that_were_set_aside_are_kept(tmp_path: Path) -> None:
    stores = SqliteStores(tmp_path)
    for number in range(ASIDE_MAX + 3):
        # Still open: so there are a log and an index of it.
        store, _why = stores.open(NAME)
        store.apply(Changes(values={b"a": b"%d" % number}, position=at(number)))
        stores.set_aside(NAME, "for a test").close()
        store.close()
    other, _why = stores.open("table-01")
    stores.set_aside("table-01", "for a test").close()
    other.close()

    aside = [file.name for file in tmp_path.iterdir() if f"{NAME}.sqlite.aside-" in file.name]
    kept = sorted(name for name in aside if not name.endswith(("-wal", "-shm")))
    assert len(kept) == ASIDE_MAX
    assert {name.removesuffix("-wal").removesuffix("-shm") for name in aside} == set(kept)
    newest = sqlite3.connect(tmp_path / kept[-1])
    assert newest.execute("SELECT value FROM entries").fetchone() == (b"%d" % (ASIDE_MAX + 2),)
    newest.close()
    assert len(list(tmp_path.glob("table-01.sqlite.aside-*"))) >= 1


def test_two_processes_that_open_a_new_store_at_once_set_nothing_aside(tmp_path: Path) -> None:
    stores = SqliteStores(tmp_path)
    for number in range(10):
        barrier = threading.Barrier(4)
        reasons: list[str] = []

        def open_it(name: str, barrier: threading.Barrier, reasons: list[str]) -> None:
            barrier.wait(5)
            # Unavailable: another one makes the file at this moment.
            store, why = eventually(lambda: stores.open(name), within_s=20)
            reasons.append(why)
            store.close()

        threads = [
            threading.Thread(target=open_it, args=(f"new-{number}", barrier, reasons))
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert reasons == [""] * 4


def test_many_threads_share_a_reader(tmp_path: Path) -> None:
    store = written(tmp_path, close=False)
    reader = store.reader()
    wrong: list[object] = []

    def read(seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(50):
            number = chance.randrange(COUNT)
            if reader.get(KEYS[number]) != (value(number), at(COUNT)):
                wrong.append(number)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert wrong == []
    reader.close()
    store.close()


def test_what_is_used_after_it_was_closed_is_a_mistake_not_damage(tmp_path: Path) -> None:
    store = written(tmp_path)
    with pytest.raises(sqlite3.ProgrammingError):
        store.apply(Changes(position=at(1)))


def test_a_store_that_another_process_holds_is_waited_for_not_set_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orderflow.messaging.streams.store.sqlite_store.BUSY_S", 0.05)
    store = written(tmp_path, close=False)
    holder = sqlite3.connect(tmp_path / f"{NAME}.sqlite", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(Unavailable, match="another process holds it"):
        store.apply(Changes(values={b"a": b"1"}, position=at(1)))
    with pytest.raises(Unavailable, match="another process holds it"):
        SqliteStores(tmp_path).open(NAME)
    holder.execute("ROLLBACK")
    holder.close()
    assert everything(store) == FULL
    store.close()


def test_a_full_disk_is_waited_for_and_nothing_is_written(tmp_path: Path) -> None:
    store = written(tmp_path, close=False)
    # SQLite's own limit of pages gives the same error as a disk without room.
    (pages,) = store._connection.execute("PRAGMA page_count").fetchone()
    store._connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(Unavailable, match="make room"):
        store.apply(
            Changes(
                values={b"a%d" % number: b"v" * 5_000 for number in range(100)},
                facts=UNKNOWN,
                position=at(9_999),
            )
        )
    assert everything(store) == FULL
    store._connection.execute("PRAGMA max_page_count = 1000000")
    store.apply(Changes(position=at(COUNT)))
    store.close()
    assert judged(tmp_path) == (FULL, "")


# A plain user: root may write everywhere.
PLAIN_USER = """
import os, sys
from pathlib import Path
from orderflow.messaging.errors import ConfigurationError, Unavailable
from orderflow.messaging.streams.store.sqlite_store import SqliteStores
if os.getuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
try:
    store, why = SqliteStores(Path(sys.argv[1])).open("table-0")
    print("opened", why)
except (ConfigurationError, Unavailable) as error:
    print(type(error).__name__, error)
"""


def as_plain_user(directory: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", PLAIN_USER, str(directory)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.stderr == ""
    return done.stdout.splitlines()[-1]


@pytest.fixture
def open_path(tmp_path: Path) -> Iterator[Path]:
    """A directory that a plain user can reach."""
    above = [path for path in tmp_path.parents if not path.stat().st_mode & 0o001]
    modes = {path: path.stat().st_mode for path in above}
    for path in (*above, tmp_path):
        path.chmod(0o755)
    yield tmp_path
    for path, mode in modes.items():
        path.chmod(mode)


def test_a_directory_that_may_not_be_written_is_a_setting_to_correct(open_path: Path) -> None:
    directory = open_path / "state"
    directory.mkdir(mode=0o555)
    said = as_plain_user(directory)
    assert said.startswith(f"ConfigurationError state stores can't be kept in {directory}")
    assert "Permission denied" in said
    with pytest.raises(ConfigurationError, match="can't be kept in"):
        SqliteStores(Path("/dev/null/state"))


def test_a_file_that_may_not_be_written_is_waited_for_and_stays(open_path: Path) -> None:
    directory = open_path / "state"
    written(directory)
    path = directory / f"{NAME}.sqlite"
    data = path.read_bytes()
    directory.chmod(0o777)
    for mode in (0o444, 0o000):
        path.chmod(mode)
        said = as_plain_user(directory)
        assert said.startswith(f"Unavailable {path}: "), said
        assert "let this process" in said
    assert path.read_bytes() == data
    assert list(directory.glob("*.aside-*")) == []


def test_a_damaged_file_that_may_not_be_moved_is_waited_for(open_path: Path) -> None:
    directory = open_path / "state"
    directory.mkdir()
    path = directory / f"{NAME}.sqlite"
    path.write_bytes(b"garbage" * 2_000)
    path.chmod(0o666)
    # What is in a directory with this bit may be moved by its owner alone.
    directory.chmod(0o1777)
    said = as_plain_user(directory)
    if os.getuid() == 0:
        assert said.startswith(f"Unavailable {path}: Operation not permitted")
    else:
        assert said.startswith("opened")


WRITER = """
import sys
from pathlib import Path
from orderflow.messaging.streams.store.sqlite_store import SqliteStores
from orderflow.messaging.streams.store.store import Changes, ChangelogPosition, StorePosition
store, why = SqliteStores(Path(sys.argv[1])).open("table-0")
assert not why, why
number = max(store.position.input, 0)
while True:
    number += 1
    keys = [b"%d" % (key * number % 977) for key in range(1, 60)]
    store.apply(
        Changes(
            values={b"%d" % key: b"%d" % number * 50 for key in range(200)},
            ranks={b"%d" % key: {"EUR": number * (key + 1)} for key in range(200)},
            facts=[number.to_bytes(8, "big") + fact.to_bytes(8, "big") for fact in range(50)],
            position=StorePosition((ChangelogPosition("log", "id", number),), number),
        )
    )
    if number % 10 == 0:
        print(number, flush=True)
"""


def test_a_writer_that_is_killed_leaves_whole_commits(tmp_path: Path) -> None:
    last = 0
    for seed in range(6):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        for _ in range(random.Random(seed).randrange(1, 8)):
            reported = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        process.wait(10)
        process.stdout.close()

        store, why = SqliteStores(tmp_path).open(NAME)
        assert why == ""
        number = store.position.input
        assert number >= max(reported, last)
        assert store.position.changelogs[0].offset == number
        reader = store.reader()
        entries, position = reader.between(b"", b"\xff", 1_000)
        assert position == store.position
        assert {entry.value for entry in entries} == {b"%d" % number * 50}
        assert len(entries) == 200
        assert [entry.key for entry in reader.top("EUR", 2)[0]] == [b"199", b"198"]
        facts = [n.to_bytes(8, "big") + bytes(8) for n in range(1, number + 2)]
        assert store.known(facts) == set(facts[:number])
        reader.close()
        store.close()
        last = number


def test_a_reader_of_a_directory_that_is_gone_says_so(tmp_path: Path) -> None:
    store = written(tmp_path / "state", close=False)
    reader = store.reader()
    assert reader.get(KEYS[0])[0] == value(0)
    store.close()
    shutil.rmtree(tmp_path / "state")
    eventually(lambda: not (tmp_path / "state").exists(), within_s=5)
    with pytest.raises(StoreDamaged, match="set aside"):
        reader.get(KEYS[0])
    reader.close()
