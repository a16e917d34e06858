"""
The house reads in plain words: what a machine can check of it. The formatter sees to the lines'
length.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "src" / "orderflow").rglob("*.py"))
WORN_OUT = {"one", "told", "asked", "found"}
"""Names that say nothing of what they hold: a record, a row, an answer, an order."""
PARAGRAPH_LINES_MAX = 12
WHY_ROOMS = ("container", "relay", "kafka")
"""Where the order of statements is the guarantee, comments say why."""
WHY_PER_100_LINES = 2


def place(path: Path, node: ast.expr | ast.stmt | ast.arg, name: str) -> str:
    return f"{path.relative_to(ROOT)}:{node.lineno}: {name}"


def test_variables_are_nouns_of_what_they_hold() -> None:
    assert [
        place(path, node, name)
        for path in SOURCES
        for node, name in named(ast.parse(path.read_text()))
        if name in WORN_OUT
    ] == []


def named(tree: ast.Module) -> Iterator[tuple[ast.Name | ast.arg, str]]:
    """Every variable where it is bound, and every argument."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node, node.id
        elif isinstance(node, ast.arg):
            yield node, node.arg


def test_long_functions_have_paragraphs() -> None:
    assert [
        place(path, function, function.name)
        for path in SOURCES
        for function in without_paragraphs(path.read_text())
    ] == []


def without_paragraphs(text: str) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Functions longer than a paragraph, of more than one statement, without a blank line."""
    lines = text.splitlines()
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        body = node.body[1:] if ast.get_docstring(node) is not None else node.body
        if len(body) < 2 or node.end_lineno is None:
            continue

        first, last = body[0].lineno, node.end_lineno
        is_one_block = all(line.strip() for line in lines[first:last])
        if last - first >= PARAGRAPH_LINES_MAX and is_one_block:
            yield node


@pytest.mark.parametrize("room", WHY_ROOMS)
def test_where_order_is_the_guarantee_comments_say_why(room: str) -> None:
    texts = [path.read_text() for path in (ROOT / "src/orderflow/messaging" / room).rglob("*.py")]
    lines = sum(len(text.splitlines()) for text in texts)
    comments = sum(len(list(comments_of(text))) for text in texts)
    assert comments * 100 >= WHY_PER_100_LINES * lines, f"{comments} comments in {lines} lines"


def comments_of(text: str) -> Iterator[str]:
    """Comments for readers: not those for linters."""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT and not re.match(r"# (noqa|type:)", token.string):
            yield token.string


def test_a_word_stands_in_the_glossary_once() -> None:
    rows = re.findall(r"^\| \*\*(.+?)\*\*", (ROOT / "docs/glossary.md").read_text(), re.MULTILINE)
    words = Counter(word.strip() for row in rows for word in row.split(","))
    assert [word for word, count in words.items() if count > 1] == []
