"""A health answer that is no 200, in plain words, whoever gave it. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

WORDS_MAX = 300
CHECKS_MAX = 5


def why_not_ready(path: str, status: int, body: str) -> str:
    """
    The reasons that the answer gives, on one line of at most 300 characters; of a document that
    gives none only its status, never the document.
    """
    try:
        document = msgspec.json.decode(body)
    except msgspec.DecodeError:
        words = "" if body.lstrip().startswith(("{", "[", "<")) else body
        return _said(path, status, words)

    if isinstance(document, dict):
        reasons = "; ".join(_reasons(document))
        if reasons:
            return _shortened(reasons)
        return _said(path, status, "; ".join(_others(document)))
    return _said(path, status, "")


def _reasons(document: dict[str, Any]) -> Iterator[str]:
    """As our own processes say them."""
    reasons = document.get("reasons")
    if isinstance(reasons, list):
        yield from (str(reason) for reason in reasons)


def _others(document: dict[str, Any]) -> Iterator[str]:
    """Names of checks that failed, as MicroProfile Health has them; a problem's own words."""
    checks = document.get("checks")
    if isinstance(checks, list):
        down = [
            str(check.get("name"))
            for check in checks
            if isinstance(check, dict) and check.get("status") != "UP"
        ]
        yield from (f"{name} is down" for name in down[:CHECKS_MAX])

    yield from (
        document[name]
        for name in ("title", "detail", "message")
        if isinstance(document.get(name), str)
    )


def _said(path: str, status: int, words: str) -> str:
    line = _shortened(words)
    return f"{path} answered {status}{f': {line}' if line else ''}"


def _shortened(words: str) -> str:
    line = " ".join(words.split())
    return line if len(line) <= WORDS_MAX else f"{line[: WORDS_MAX - 1]}…"
