"""What a message says of a name that nobody knows: those that there are, and the nearest."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def there_are(name: str, known: Iterable[str]) -> str:
    """`there are: a, b`, and which of them was meant if one is near."""
    names = tuple(known)
    return f"there are: {', '.join(names)}{did_you_mean(name, names)}"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'a'?`; empty if none is near."""
    near = get_close_matches(name, tuple(known), n=2)
    return f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
