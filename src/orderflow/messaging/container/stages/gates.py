"""The eight stages of a container that close when what they need is away."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from orderflow.messaging.work.clock import Clock
from orderflow.messaging.work.gate import Gate


class Gates(msgspec.Struct, frozen=True):
    """One gate for each stage: what closes it stops that stage, and the others go on."""

    decode: Gate
    """The registry is away: records of schemas not met before stay unread."""
    handle: Gate
    """
    The database or another resource of the handler is away, or the handler itself is suspected.
    """
    intent: Gate
    """The database of `Prepare` is away."""
    call: Gate
    """Whom `Prepare.call` calls is away."""
    outcome: Gate
    """The database of `Prepare` is away: ended calls keep their answers."""
    commit: Gate
    """The broker is away, or refuses."""
    dead_letters: Gate
    """A dead letter topic is refused: letters wait, and everything else is committed."""
    restore: Gate
    """Changelogs can't be read, or stores not be written: tables that are restored wait."""

    @classmethod
    def of(cls, listener: str, clock: Clock) -> Gates:
        return cls(*(Gate(listener, stage, clock=clock) for stage in cls.__struct_fields__))

    def __iter__(self) -> Iterator[Gate]:
        work = (self.decode, self.handle, self.intent, self.call, self.outcome)
        return iter((*work, self.commit, self.dead_letters, self.restore))
