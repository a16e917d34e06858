"""`python -m orderflow.services.asyncapi`: write `docs/asyncapi.json` from all listeners."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from orderflow.contracts.roster import ROSTER, Roster, topics
from orderflow.contracts.schemas import CATALOGUE
from orderflow.messaging.documents import asyncapi
from orderflow.messaging.listener import Listener

FILE = Path(__file__).parents[3] / "docs" / "asyncapi.json"


def listeners(roster: Roster = ROSTER) -> tuple[Listener, ...]:
    """The `LISTENER` of each service that listens, in the roster's order. None is run here."""
    return tuple(
        import_module(f"{member.package}.listeners").LISTENER for member in roster if member.listens
    )


def text(roster: Roster = ROSTER) -> str:
    """The document as it is committed."""
    document = asyncapi.document(
        "Orderflow",
        "An order's life as events: which services publish and listen to which topics.",
        topics=topics(roster),
        listeners=listeners(roster),
        catalogue=CATALOGUE,
    )
    return asyncapi.text(document)


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
