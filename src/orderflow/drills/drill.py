"""What a drill is: words for people, what it needs, and an incident that breaks and heals."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import msgspec

from orderflow.stack.settings import ALL, Service

if TYPE_CHECKING:
    from orderflow.drills.scene import Scene

SERVICES: tuple[Service, ...] = tuple(name for name in ALL if name != "operations")
"""All that an order passes, and whoever follows it. What observes them is observed here anyway."""

_NOTHING: Mapping[str, str] = {}


class Ground(msgspec.Struct, frozen=True, kw_only=True):
    """
    The stack that a drill needs. Drills on equal grounds share one, one after the other.

    `environment` is added to that of all processes.
    """

    brokers: Literal[1, 3] = 1
    partitions: int = 3
    environment: Mapping[str, str] = _NOTHING

    @property
    def key(self) -> tuple[object, ...]:
        """Equal for equal grounds."""
        return (self.brokers, self.partitions, *sorted(self.environment.items()))


class Expectation(msgspec.Struct, frozen=True, kw_only=True):
    """
    A condition and its deadline. `what` is a sentence without a full stop: what should be so.

    `is_met` is called again and again on the drill's own thread, and may ask any server; what these
    raise while they are away counts as not yet.
    """

    what: str
    is_met: Callable[[], bool]
    within_s: float = 30.0


class Incident(ABC):
    """
    One occurrence of what a drill brings about. Used once, by one thread.

    The order of calls: `break_it`, `while_broken` and `throughout`, `heal`, `once_healed`,
    `letters`. `heal` is called in any case, also after a `break_it` that failed half way, or was
    interrupted: it must bear that, and being called when nothing is broken.
    """

    def __init__(self, scene: Scene) -> None:
        self.scene = scene

    @abstractmethod
    def break_it(self) -> None:
        """Bring it about."""

    @abstractmethod
    def heal(self) -> None:
        """Mend it, as an operator would."""

    def while_broken(self) -> Sequence[Expectation]:
        """What must become so before anybody heals anything."""
        return ()

    def throughout(self) -> Sequence[Expectation]:
        """What must be so at each look from the break to the heal; `within_s` has no meaning."""
        return ()

    def once_healed(self) -> Sequence[Expectation]:
        """What must become so afterwards, while orders still come."""
        return ()

    @property
    def letters(self) -> int:
        """How many dead letters it leaves open, rightly."""
        return 0


class Drill(msgspec.Struct, frozen=True, kw_only=True):
    """
    `breaks` and `should` are sentences for who watches: what will be broken, what should happen.
    `degrades` and `goes_on`: a few words each, for the report. `lab`: which incident of the lab it
    is. `runbook`: a file in docs/runbooks. `spoils`: no other drill may use its stack afterwards.
    """

    name: str
    lab: str
    breaks: str
    should: str
    degrades: str
    goes_on: str
    runbook: str
    incident: Callable[[Scene], Incident]
    ground: Ground = Ground()
    spoils: bool = False
    recovers_within_s: float = 60.0

    @property
    def runbook_path(self) -> str:
        return f"docs/runbooks/{self.runbook}"
