"""The commands of `orderflow` that runbooks tell an operator to type."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

RUNBOOKS = sorted((Path(__file__).parents[2] / "docs" / "runbooks").glob("*.md"))
READING = (
    *(
        "connect plan",
        "connect status",
        "dlt list",
        "env",
        "lag",
        "listeners",
        "logs",
        "mail",
        "order",
        "orders",
        "revenue",
        "schemas check",
        "schemas plan",
        "status",
        "stuck",
    ),
    *("topics plan", "trace"),
)
LETTER = "orders.payment-service.dlt/0/12"
SETTINGS = re.compile(r"^(?:\w+='[^']*' |\w+=\S+ )+")
"""Variables before a command."""


def typed(text: str, *, order: str, process: str = "payment") -> list[list[str]]:
    """The words of each command in the console blocks, as a shell would pass them."""
    return [words_of(line) for line in lines_of(text, order=order, process=process)]


def words_of(line: str) -> list[str]:
    return shlex.split(SETTINGS.sub("", line), comments=True)[1:]


def lines_of(text: str, *, order: str, process: str = "payment") -> list[str]:
    """
    Each line of the console blocks that is a command of ours, whole. `<id>`, `<letter>` and
    `<process>` stand for what the operator knows.
    """
    blocks = "\n".join(re.findall(r"```console\n(.*?)```", text, re.DOTALL)).replace("\\\n", " ")
    blocks = blocks.replace("<id>", order).replace("<process>", process)
    blocks = blocks.replace("<letter>", LETTER)
    lines = [line[2:] for line in blocks.splitlines() if line.startswith("$ ")]
    inner = [command for line in lines for command in re.findall(r"\$\((orderflow [^)]*)\)", line)]
    return [line for line in [*lines, *inner] if SETTINGS.sub("", line).startswith("orderflow ")]


def reading_lines(order: str) -> list[str]:
    """Those of all runbooks that change nothing, each once, to be typed as they stand."""
    every = {line for file in RUNBOOKS for line in lines_of(file.read_text(), order=order)}
    return sorted(line for line in every if reads(tuple(words_of(line))))


def reads(words: tuple[str, ...]) -> bool:
    """Whether a command changes nothing, and ends by itself."""
    if words[:2] in (("dlt", "replay"), ("dlt", "discard")):
        return "--dry-run" in words
    if words[0] == "stuck":
        return len(words) == 1
    if words[:2] == ("relay", "held"):
        return words[2] == "list"
    return " ".join(words[:2]) in READING or (
        words[:2] != ("revenue", "rebuild") and (words[0] in READING or "--no-follow" in words)
    )
