"""The provider's files: what was written is read again, and a torn line is nobody's."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from orderflow.psp.books import Entry, Void
from orderflow.psp.journal import Journal

VOIDS = [Void(reference=f"p{number}", number=1, at=datetime(2026, 1, 31, tzinfo=UTC)) for number in range(3)]


def journal(path: Path) -> Journal[Entry]:
    return Journal(path, Entry)  # type: ignore[arg-type]


def test_lines_are_there_after_another_start(tmp_path: Path) -> None:
    path = tmp_path / "new" / "ledger.jsonl"
    first = journal(path)
    for void in VOIDS:
        first.append(void)
    first.close()
    assert journal(path).read() == VOIDS


def test_a_line_that_a_kill_tore_off_is_cut_away_and_the_next_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    journal(path).append(VOIDS[0])
    with path.open("ab") as file:
        file.write(b'{"entry":"void","refer')
    again = journal(path)
    again.append(VOIDS[1])
    assert again.read() == VOIDS[:2]
