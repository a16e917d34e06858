"""A neighbour's files: what was written is read again, and a torn line is nobody's."""

from __future__ import annotations

from pathlib import Path

import msgspec

from orderflow.neighbours.journal import Journal


class Line(msgspec.Struct, frozen=True):
    number: int


LINES = [Line(number) for number in range(3)]


def journal(path: Path) -> Journal[Line]:
    return Journal(path, Line)


def test_lines_are_there_after_another_start(tmp_path: Path) -> None:
    path = tmp_path / "new" / "lines.jsonl"
    first = journal(path)
    for line in LINES:
        first.append(line)
    first.close()
    assert journal(path).read() == LINES


def test_a_line_that_a_kill_tore_off_is_cut_away_and_the_next_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    journal(path).append(LINES[0])
    with path.open("ab") as file:
        file.write(b'{"num')
    again = journal(path)
    again.append(LINES[1])
    assert again.read() == LINES[:2]
