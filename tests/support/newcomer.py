"""
A service that is not there, added as any is: a folder in `services/`, a row in the roster.

The folder is fulfilment's under another name: a follower with an API has the same files. The copy
of the package is in a directory of its own; its processes run with `environment`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import orderflow
from orderflow.contracts.roster import Row
from orderflow.contracts.topics import INVENTORY, ORDER_EVENTS

NAME = "parcels"
ROW = Row(
    name=NAME,
    ports={"api": 8088, "listener": 8270},
    group="parcels-service",
    listens_to=(ORDER_EVENTS, INVENTORY),
)
_WRITTEN = """    Row(
        name="parcels",
        ports={"api": 8088, "listener": 8270},
        group="parcels-service",
        listens_to=(ORDER_EVENTS, INVENTORY),
    ),
"""
_END_OF_ROSTER = ")\n\n\ndef row("


@dataclass(frozen=True)
class Checkout:
    """A copy of the package in `place`, with the new service in it."""

    place: Path

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": str(self.place / "src")}

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """A Python process of this copy. Raises if it fails."""
        ended = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.place,
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        assert ended.returncode == 0, f"{arguments}: {ended.stderr}{ended.stdout}"
        return ended


def checkout_with_newcomer(place: Path) -> Checkout:
    """Copy the package to `place`, and add a folder and a row: nothing else."""
    package = Path(orderflow.__file__).parent
    copy = place / "src" / "orderflow"
    shutil.copytree(package, copy, ignore=shutil.ignore_patterns("__pycache__"))

    _write_folder(copy / "services")
    roster = copy / "contracts" / "roster.py"
    before, end, after = roster.read_text().partition(_END_OF_ROSTER)
    roster.write_text(before + _WRITTEN + end + after)
    return Checkout(place)


def _write_folder(services: Path) -> None:
    folder = services / NAME
    shutil.copytree(services / "fulfilment", folder)
    for module in folder.glob("*.py"):
        text = module.read_text().replace("order-processor", ROW.group)
        text = text.replace("Fulfilment", NAME.capitalize()).replace("fulfilment", NAME)
        module.write_text(text)
