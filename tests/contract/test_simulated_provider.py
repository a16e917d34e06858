"""The document of the simulated provider lists what the code has."""

from __future__ import annotations

import re
from pathlib import Path

from orderflow.neighbours.psp.faults import EFFECTS, Fault
from orderflow.neighbours.psp.tokens import FATES

DOCUMENT = Path(__file__).parents[2] / "docs" / "simulated-provider.md"


def table(title: str) -> list[list[str]]:
    """The rows of the first table under that title, as cells."""
    section = DOCUMENT.read_text().split(f"## {title}\n")[1]
    rows = re.search(r"(?:^\|.*\n)+", section, re.MULTILINE)
    assert rows is not None
    return [line.strip("| ").split(" | ") for line in rows[0].splitlines()[2:]]


def test_each_fault_is_listed_with_what_happened() -> None:
    listed = {
        Fault(name): row[-1].strip()
        for row in table("Faults")
        for name in re.findall(r"`([^`]+)`", row[0])
    }
    assert set(listed) == set(Fault) - {Fault.NONE}
    assert {fault for fault, what in listed.items() if what == "nothing"} == {
        fault for fault, effect in EFFECTS.items() if not effect.done
    }


def test_each_test_token_is_listed() -> None:
    listed = {name for row in table("Test tokens") for name in re.findall(r"`([^`]+)`", row[0])}
    assert listed == {*FATES, "pm_<fault>", "pm_<fault>_always"}
