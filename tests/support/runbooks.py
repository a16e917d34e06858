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
        "lag",
        "listeners",
        "logs",
        "mail",
        "revenue",
        "status",
        "stuck",
    ),
    *("topics plan", "trace"),
)
"""What changes nothing, and ends by itself."""
LETTER = "orders.payment-service.dlt/0/12"


def typed(text: str, *, order: str, process: str = "payment") -> list[list[str]]:
    """
    The words of each command in the console blocks, as a shell would pass them. `<id>`, `<letter>`
    and `<process>` stand for what the operator knows.
    """
    blocks = "\n".join(re.findall(r"```console\n(.*?)```", text, re.DOTALL)).replace("\\\n", " ")
    blocks = blocks.replace("<id>", order).replace("<process>", process)
    blocks = blocks.replace("<letter>", LETTER)
    lines = [line[2:] for line in blocks.splitlines() if line.startswith("$ ")]
    inner = [command for line in lines for command in re.findall(r"\$\((orderflow [^)]*)\)", line)]
    own = [re.sub(r"^(?:\w+='[^']*' |\w+=\S+ )+", "", line) for line in lines]
    return [
        shlex.split(command, comments=True)[1:]
        for command in [*own, *inner]
        if command.startswith("orderflow ")
    ]


def reading_commands(order: str) -> list[list[str]]:
    """Those of all runbooks that change nothing, each once."""
    every = {tuple(words) for file in RUNBOOKS for words in typed(file.read_text(), order=order)}
    return sorted(list(words) for words in every if reads(words))


def reads(words: tuple[str, ...]) -> bool:
    if words[0] == "stuck":
        return len(words) == 1
    if words[:2] == ("relay", "held"):
        return words[2] == "list"
    return " ".join(words[:2]) in READING or (
        words[:2] != ("revenue", "rebuild") and (words[0] in READING or "--no-follow" in words)
    )
