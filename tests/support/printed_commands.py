"""
The commands of `orderflow` that the product prints: in errors, hints, answers and help.

They are read from the source. A command stands between backticks; or it is a whole string, or a
call of `command`, and then is printed on a line of its own to be copied.
"""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import typer.main
from tests.support.runbooks import SETTINGS
from typer.core import TyperGroup

from orderflow.cli.main import app

PACKAGE = Path(__file__).parents[2] / "src" / "orderflow"
FILL = "7"
"""For what is known only when it is printed: a number is a name, too."""
COMMAND = r"(?<![\w./-])orderflow(?= [a-z])"
QUOTED = COMMAND.replace("[a-z]", f"[a-z{FILL}]")
"""Between backticks also one whose name is known only then: that can't be checked, and is wrong."""
WHOLE = re.compile(rf"(?:[A-Z_]+=\S+ )*(?:[A-Z_]+='[^']*' )*{COMMAND}[^`]*")
HELPER = re.compile(r"from orderflow\.cli\.called import [\w, ]*\bcommand\b")
END_OF_A_COMMAND = set("|&;<>()")


@dataclass(frozen=True, slots=True)
class Printed:
    """`line`: as printed, filled in. `form`: between backticks, whole, by call, or bare."""

    place: str
    line: str
    form: str

    @property
    def words(self) -> list[str]:
        """What a shell passes; what comes after a pipe belongs to others."""
        line = SETTINGS.sub("", self.line).replace("<command>", "status")
        line = re.sub(r"<\w+>", FILL, line)
        tokens = shlex.shlex(line, posix=True, punctuation_chars=True)
        tokens.whitespace_split, tokens.commenters = True, ""
        words = []
        for token in tokens:
            if set(token) <= END_OF_A_COMMAND:
                break
            words.append(token)
        return words[1:]


@cache
def printed_commands() -> tuple[Printed, ...]:
    """All of them, in the order of the source."""
    return tuple(
        Printed(f"{path.relative_to(PACKAGE)}:{line}", *command)
        for path in sorted(PACKAGE.rglob("*.py"))
        for line, *command in commands_in(path.read_text())
    )


def commands_in(source: str) -> Iterator[tuple[int, str, str]]:
    """Line, command, form."""
    if "orderflow " not in source and not HELPER.search(source):
        return
    tree = ast.parse(source)
    examples, silent = _docstrings(tree)
    helper = "command" if HELPER.search(source) else ""
    for node in examples:
        for row in re.findall(rf"^ +((?:[A-Z_]+=\S+ )*{COMMAND}.*)$", node.value, re.MULTILINE):
            yield node.lineno, row.rstrip("\\ "), "example"
    for node in _outermost(tree, silent | set(examples), helper):
        if isinstance(node, ast.Call):
            yield node.lineno, _called_line(node), "call"
            continue
        text = _text(node)
        if WHOLE.fullmatch(text):
            yield node.lineno, text, "whole"
            continue
        quoted = re.findall(rf"`((?:[^`\n]* )?{QUOTED}[^`\n]*)`", text)
        yield from ((node.lineno, line, "quoted") for line in quoted)
        bare = re.sub(r"`[^`\n]*`", "", text)
        rest = re.findall(rf"{COMMAND}[^`;,)\[\n]*", bare)
        yield from ((node.lineno, line, "bare") for line in rest)


def commands_shown(text: str, called: str) -> list[str]:
    """
    What a command has printed for somebody to type, as it stands there: between backticks, on a
    line of its own, after `next:`. `called`: how the command that printed it was called.
    """
    command = rf"(?:[A-Z_]+=(?:'[^']*'|\S+) )*{re.escape(called)} [a-z]"
    shown = re.findall(rf"`({command}[^`\n]*)`", text)
    for line in re.sub(r"`[^`\n]*`", "", text).splitlines():
        rest = line.partition("next: ")[2] or line
        shown += [part for part in map(str.strip, rest.split(" | ")) if re.match(command, part)]
    return list(dict.fromkeys(shown))


def refuse_unknown(words: list[str]) -> None:
    """Parse as the command itself does, without running it. Raises TyperException."""
    command = _root()
    with suppress(typer.Exit):  # Of `help`, which has an answer already.
        _parse(command, command.make_context("orderflow", [*words]))


@cache
def _root() -> Any:
    return typer.main.get_command(app)


def _parse(command: Any, context: Any) -> None:
    if isinstance(command, TyperGroup):
        words = [*context._protected_args, *context.args]
        if command.invoke_without_command and not words:
            return
        name, inner, rest = command.resolve_command(context, words)
        assert inner is not None
        _parse(inner, inner.make_context(name, rest, parent=context))


def _docstrings(tree: ast.Module) -> tuple[list[Any], set[Any]]:
    """Those of functions, whose examples are in the help; and all that nobody prints."""
    functions, silent = [], set()
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        for statement in body if isinstance(body, list) else []:
            if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
                is_of_function = isinstance(node, ast.FunctionDef) and statement is node.body[0]
                if is_of_function and isinstance(statement.value.value, str):
                    functions.append(statement.value)
                else:
                    silent.add(statement.value)
    return functions, silent


def _outermost(node: ast.AST, without: set[Any], helper: str) -> Iterator[Any]:
    """Strings, also with expressions in them, and calls of the helper."""
    for child in ast.iter_child_nodes(node):
        if child in without:
            continue
        if isinstance(child, ast.Call) and getattr(child.func, "id", None) == helper:
            yield child
            continue
        if isinstance(child, ast.JoinedStr):
            yield child
            for part in child.values:
                yield from _outermost(part, without, helper)
            continue
        if isinstance(child, ast.Constant) and isinstance(child.value, str):
            yield child
        yield from _outermost(child, without, helper)


def _text(node: ast.Constant | ast.JoinedStr) -> str:
    if isinstance(node, ast.JoinedStr):
        return "".join(map(_word, node.values))
    return re.sub(r"\{\w+\}", FILL, str(node.value))


def _called_line(call: ast.Call) -> str:
    return shlex.join(["orderflow", *map(_word, call.args)])


def _word(node: ast.expr) -> str:
    return str(node.value) if isinstance(node, ast.Constant) else FILL
