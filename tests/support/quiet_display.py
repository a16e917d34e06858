"""Watches a drill and says nothing."""

from __future__ import annotations

from orderflow.drills.conduct import Expected
from orderflow.drills.drill import Drill
from orderflow.drills.figures import Figures


class QuietDisplay:
    def phase(self, drill: Drill, what: str) -> None: ...

    def look(self, figures: Figures) -> None: ...

    def expected(self, result: Expected) -> None: ...


QUIET = QuietDisplay()
