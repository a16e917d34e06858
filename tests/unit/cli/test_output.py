"""Nothing that a stranger wrote can act on the terminal of whoever looks at it."""

from __future__ import annotations

import ast
import io
import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from rich.table import Table
from rich.text import Text

import orderflow
from orderflow.cli.logs import _print_line
from orderflow.cli.mail import Mail
from orderflow.cli.mail import _shown as mail_shown
from orderflow.cli.output import harmless, printable, say, write_json, write_json_list
from orderflow.cli.terminal import Terminal
from orderflow.stack.log_lines import log_line

ROOMS = [Path(orderflow.__file__).parent / room for room in ("cli", "bench", "drills", "prove")]
EVIL = "a\x1b[2J\x1b]0;owned\x07\x9b31m\r\x08\x7f\u202e\u200bb"
NOW = datetime(2026, 1, 31, 9, 5, tzinfo=UTC)


def acts(text: str) -> set[str]:
    """What of the text would do something on a terminal, but begin a line."""
    return {each for each in text if not each.isprintable() and each not in "\n\t"}


def written(*things: object, width: int = 80) -> str:
    file = io.StringIO()
    Terminal(file=file, width=width, force_terminal=False).print(*things)
    return file.getvalue()


def test_control_characters_and_invisible_marks_are_escaped_and_the_rest_stays() -> None:
    assert printable("key\x1b[2J\x07") == "key\\x1b[2J\\x07"
    assert printable("\x9bm\x7f\u202e\ud800") == "\\x9bm\\x7f\\u202e\\ud800"
    assert printable("Übergröße · 5\xa0€ 東京 🙂") == "Übergröße · 5\xa0€ 東京 🙂"


def test_a_line_end_is_escaped_where_a_text_must_stay_on_its_line() -> None:
    assert printable("one\ntwo\tthree") == "one\\ntwo\\tthree"
    assert harmless("one\ntwo\tthree\r") == "one\ntwo\tthree\\r"


@pytest.mark.parametrize("thing", [EVIL, Text(EVIL, "bold red"), Text.assemble((EVIL, "dim"))])
def test_no_text_acts_on_a_terminal(thing: object) -> None:
    assert acts(written(thing)) == set()
    assert "\\x1b" in written(thing)


def test_no_text_acts_from_inside_a_table_and_the_table_keeps_its_width() -> None:
    table = Table(box=None)
    table.add_column("name", width=20, overflow="fold")
    table.add_column("other")
    table.add_row(Text(EVIL), "beside")
    text = written(table)
    assert acts(text) == set()
    assert max(map(len, text.splitlines())) <= 80
    assert "beside" in text


def test_in_a_pipe_rows_are_whole_lines_without_padding(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    table = Table("name", "why", box=None)
    table.add_row("short", "word " * 25)
    table.add_row("a longer name", "x")
    terminal = Terminal()
    terminal.print(table)
    terminal.print("goes on ", end="")
    terminal.print("here")
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.endswith(" ")] == []
    assert len(lines) == 4
    assert lines[-1] == "goes on here"


def test_in_a_pipe_the_width_is_what_columns_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert Terminal().width == 80
    assert Terminal(width=40).width == 40


def test_no_color_means_no_colour_on_a_terminal_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    file = io.StringIO()
    Terminal(file=file, force_terminal=True, color_system="standard").print(Text("a", "red"))
    assert file.getvalue() == "a\n"


def test_colours_are_still_colours() -> None:
    file = io.StringIO()
    Terminal(file=file, force_terminal=True, color_system="standard").print(Text(EVIL, "red"))
    assert file.getvalue().startswith("\x1b[31ma\\x1b[2J")


def test_a_plain_line_and_json_are_harmless_too(capsys: pytest.CaptureFixture[str]) -> None:
    say(EVIL)
    say(EVIL, to_stderr=True)
    write_json({"key": EVIL, "bytes": b"\0\1"})
    out, err = capsys.readouterr()
    assert acts(out) | acts(err) == set()
    assert json.loads(out.splitlines()[1]) == {"key": EVIL, "bytes": "AAE="}
    assert out.isascii()


@pytest.mark.parametrize("items", [[], [{"key": EVIL}], [1, 2, {"key": EVIL}]])
def test_a_list_is_one_json_array_and_an_empty_one_is_one_too(
    items: list[object], capsys: pytest.CaptureFixture[str]
) -> None:
    assert write_json_list(iter(items)) == len(items)
    out = capsys.readouterr().out
    assert json.loads(out) == items
    assert out.isascii()
    assert len(out.splitlines()) == (len(items) + 1 if items else 1)


def test_no_mail_and_no_log_line_acts(capsys: pytest.CaptureFixture[str]) -> None:
    mail = Mail(
        number=1,
        at=NOW,
        message_id=EVIL,
        to=(EVIL, "b\nforged"),
        subject=f"{EVIL}\nforged",
        text=f"{EVIL}\nsecond",
        order_id="",
        customer_id="",
        offered=1,
    )
    assert acts(mail_shown(mail).plain) == set()
    assert "\nforged" not in mail_shown(mail).plain
    assert "\n  second" in mail_shown(mail).plain

    fields = {"timestamp": NOW.isoformat(), "level": EVIL, "message": f"{EVIL}\nforged"}
    for raw in (EVIL, f"2026-01-31 09:05:00,123 WARN {EVIL}", json.dumps(fields)):
        _print_line(Terminal(soft_wrap=True), log_line("kafka", raw, None), as_json=False)
    out = capsys.readouterr().out
    assert acts(out) == set()
    assert "\nforged" not in out


SOURCES = [file for room in ROOMS for file in sorted(room.rglob("*.py"))]


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_every_command_writes_through_what_escapes(file: Path) -> None:
    if file.name in ("output.py", "terminal.py"):
        return
    tree = ast.parse(file.read_text())
    imported = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "rich.console"
        for alias in node.names
    }
    called = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    assert "Console" not in imported, "take cli.terminal.Terminal"
    assert not called & {"print", "typer.echo", "sys.stdout.write", "sys.stderr.write"}, (
        "take cli.output.say or write_json"
    )


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_of_another_encoding_shows_what_it_can(encoding: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "orderflow.cli.main", "listeners", "--group", "order-processor"],
        env={**os.environ, "PYTHONIOENCODING": encoding},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert b"order-processor" in done.stdout
