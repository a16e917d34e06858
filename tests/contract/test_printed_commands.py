"""
What our code tells somebody to type is there to be typed, and is printed so that it can be copied.

Every command in the source is parsed by the command line itself: in errors, hints, answers of APIs,
the next commands, examples of the help. What runbooks name is in `test_runbooks.py`; what runs, in
`test_system_down.py` and `tests/integration/tools/test_demo.py`.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from tests.support.printed_commands import (
    PACKAGE,
    Printed,
    commands_in,
    printed_commands,
    refuse_unknown,
)
from typer.exceptions import TyperException

NO_COMMANDS = {
    *("orderflow inventory", "orderflow listener", "orderflow relay", "orderflow revenue"),
    "orderflow sender",
}
"""What a benchmark calls our side of a comparison."""
OF_THE_ROOTS_HELP = ("orderflow up", "orderflow demo", "orderflow help <command>")
REASON = "cli/demo/services.py"
"""There `orderflow demo` is why an operator did something: for the record, not to be typed."""
COPIED_THROUGH = {"line_as_called", "as_called"}
BYPASS = {"Text", "assemble", "append", "write", "write_json", "echo"}
"""What prints a text as it is. `say`, `Terminal.print` and errors name commands as called."""


def printed() -> list[Printed]:
    return [
        each
        for each in printed_commands()
        if not (each.place.startswith("bench/") and each.line in NO_COMMANDS)
    ]


@pytest.fixture(autouse=True)
def as_called(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line decides which command is imported."""
    monkeypatch.setattr("sys.argv", ["orderflow", "called"])


def test_every_form_of_a_command_is_collected() -> None:
    counts = {
        form: sum(each.form == form for each in printed())
        for form in ("quoted", "whole", "call", "example")
    }
    assert counts["quoted"] > 80
    assert counts["call"] > 15
    assert counts["whole"] >= 5
    assert counts["example"] > 100


@pytest.mark.parametrize("each", printed(), ids=lambda each: f"{each.place} {each.line}")
def test_a_printed_command_is_what_orderflow_takes(each: Printed) -> None:
    refuse_unknown(each.words)


@pytest.mark.parametrize(
    "source",
    [
        "say('see `orderflow statsu`')",
        "say(f'see `orderflow logs --nonsense {name}`')",
        "raise OrderflowError(f'{error}: run `orderflow relay resync`')",
        "print(' | '.join(f'`orderflow {verb}`' for verb in verbs))",
        "LINE = f'orderflow dlt shwo {letter}'",
        "from orderflow.cli.called import called, command\nprint(command('dlt', 'shwo', name))",
        'def up():\n    """\n    Examples:\n      orderflow up --brokes 3\n    """',
    ],
)
def test_a_wrong_command_is_seen(source: str) -> None:
    [(_, line, form)] = commands_in(source)
    with pytest.raises(TyperException):
        refuse_unknown(Printed("", line, form).words)


def test_a_command_in_a_sentence_stands_between_backticks() -> None:
    """There ends what is to be typed, and there the command line puts how it was called."""
    bare = [(each.place.partition(":")[0], each.line) for each in printed() if each.form == "bare"]
    # The root's help has them in bold.
    assert [line for place, line in bare if place == "cli/main.py"] == list(OF_THE_ROOTS_HELP)
    assert len(bare) == len(OF_THE_ROOTS_HELP)


def test_the_command_line_names_commands_as_this_one_was_called() -> None:
    """No whole command as a plain string there; `command` makes it, and quotes its words."""
    assert [
        f"{each.place} {each.line}"
        for each in printed()
        if each.form == "whole" and each.place.startswith("cli/") and REASON not in each.place
    ] == []


@pytest.mark.parametrize(
    "path",
    [
        path
        for room in ("cli", "prove", "drills", "bench")
        for path in sorted((PACKAGE / room).rglob("*.py"))
    ],
    ids=lambda path: str(path.relative_to(PACKAGE)),
)
def test_no_command_goes_around_what_names_it_as_called(path: Path) -> None:
    assert list(bypassing(path.read_text())) == []


@pytest.mark.parametrize(
    "source",
    [
        "Text('see `orderflow status`')",
        "lines.append(Text(f'see `orderflow logs {name}`', 'dim'))",
        "text.append('see `orderflow status`')",
    ],
)
def test_one_that_does_is_seen(source: str) -> None:
    assert len(list(bypassing(source))) == 1
    assert not list(bypassing(source.replace("see `", "see ").replace("orderflow ", "")))
    assert not list(bypassing("Text(as_called('see `orderflow status`'))"))


def bypassing(source: str) -> list[str]:
    """Commands between backticks that are handed to what prints a text as it is."""
    seen = []

    def look(node: ast.AST, by: str) -> None:
        if isinstance(node, ast.Call):
            name = getattr(node.func, "id", None) or getattr(node.func, "attr", "")
            by = name if name in BYPASS | COPIED_THROUGH else by
        is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
        if is_text and by in BYPASS and "`orderflow " in str(node.value):  # type: ignore[attr-defined]
            seen.append(f"{node.lineno}: {by}: {node.value}")  # type: ignore[attr-defined]
        for child in ast.iter_child_nodes(node):
            look(child, by)

    look(ast.parse(source), "")
    return seen
