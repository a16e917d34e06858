"""A command does the same whatever stands in the shell that it is called from."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from orderflow.cli.shell import IN_WORDS

PLAIN_C = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
REPORTS = f"""
import json, os, sys
from orderflow.cli.shell import settle_shell
settle_shell()
print({"✓ 3 → 4 × 1,00 € Übung 日 ─"!a})
print(json.dumps([sys.flags.utf8_mode, sys.argv[1], sorted(os.environ), os.umask(0)]))
"""


def run(text: str, *arguments: str, **shell: str) -> tuple[bytes, list[object]]:
    done = subprocess.run(
        [sys.executable, "-c", text, *arguments],
        env={**os.environ, **shell},
        capture_output=True,
        timeout=60,
        check=False,
        umask=0o277,
    )
    assert done.returncode == 0, done.stderr
    line, facts = done.stdout.splitlines()
    return line, json.loads(facts)


@pytest.mark.parametrize(
    ("shell", "encoding", "shown"),
    [
        ({"PYTHONUTF8": "1"}, "utf-8", "✓ 3 → 4 × 1,00 € Übung 日 ─"),
        (PLAIN_C, "ascii", "+ 3 -> 4 x 1,00 EUR Ubung ? -"),
        ({"PYTHONIOENCODING": "iso-8859-1"}, "iso-8859-1", "+ 3 -> 4 × 1,00 EUR Übung ? -"),
        ({"PYTHONIOENCODING": "ascii:strict"}, "ascii", "+ 3 -> 4 x 1,00 EUR Ubung ? -"),
    ],
)
def test_every_encoding_shows_readable_text_and_paths_are_utf8(
    shell: dict[str, str], encoding: str, shown: str
) -> None:
    line, facts = run(REPORTS, "Übung", **shell)
    assert line.decode(encoding) == shown
    assert facts[1] == "Übung"


def test_nothing_of_the_drivers_stays_and_our_files_are_ours_whatever_the_umask() -> None:
    _, (_, _, names, umask) = run(REPORTS, "x", PGHOSTADDR="192.0.2.1", PGSSLMODE="require")
    assert isinstance(names, list)
    assert not [name for name in names if str(name).startswith("PG")]
    assert umask == 0o077


def test_what_stands_for_a_character_is_ascii() -> None:
    assert all(words.isascii() and words for words in IN_WORDS.values())


def test_a_directory_is_written_down_in_any_locale(tmp_path: Path) -> None:
    place = tmp_path / "Übung"
    done = subprocess.run(
        [sys.executable, "-m", "orderflow.cli.main", "env", "--json"],
        env={**os.environ, **PLAIN_C, "ORDERFLOW_STACK__STATE_DIR": str(place)},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["ORDER_API_URL"]
