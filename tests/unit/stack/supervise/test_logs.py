"""Logs: cut when large, read from the end, followed line by line."""

from __future__ import annotations

from pathlib import Path

from orderflow.stack.supervise.logs import follow, last_lines, since, trim


def test_a_large_log_is_emptied_and_its_content_kept_once(tmp_path: Path) -> None:
    log = tmp_path / "kafka.log"
    with log.open("ab") as child:
        child.write(b"old\n" * 10)
        child.flush()
        trim(log, size_max=20)
        child.write(b"new\n")
    assert log.read_text() == "new\n"
    assert log.with_name("kafka.log.1").read_text() == "old\n" * 10


def test_a_small_log_is_left_alone(tmp_path: Path) -> None:
    log = tmp_path / "kafka.log"
    log.write_text("line\n")
    trim(log, size_max=20)
    trim(tmp_path / "missing.log")
    assert log.read_text() == "line\n"


def test_the_last_lines_and_what_came_since(tmp_path: Path) -> None:
    log = tmp_path / "kafka.log"
    log.write_bytes("eins\nzwei\ndréi\n".encode() + b"\xff\n")
    assert last_lines(log, 2) == ["dréi", "\ufffd"]
    assert since(log, 10) == "dréi\n\ufffd\n"
    assert since(log, 1000) == "eins\nzwei\ndréi\n\ufffd\n"
    assert last_lines(tmp_path / "missing.log", 2) == []


def test_following_gives_whole_lines_and_survives_a_cut(tmp_path: Path) -> None:
    log = tmp_path / "kafka.log"
    log.write_text("before\n")
    steps = iter([b"one\nha", b"lf\n", None, b"new\n"])

    def write_more() -> bool:
        fresh = next(steps, b"end")
        if fresh is None:
            log.write_bytes(b"")
        elif fresh != b"end":
            with log.open("ab") as file:
                file.write(fresh)
        return fresh == b"end"

    assert list(follow([log], every_s=0, until=write_more)) == [
        ("kafka", "one"),
        ("kafka", "half"),
        ("kafka", "new"),
    ]
