"""The lake's store in memory: it compares versions as the real ones do, and fails when told to."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from orderflow.services.lake.store import Content, Version, away


class MemoryStore:
    """
    Objects by name. `fails`: so many of the next writes fail, nothing written. `before_write` runs
    once, at the next write, between what was read and the comparison: as another process might.
    """

    def __init__(self) -> None:
        self.objects: dict[str, Content] = {}
        self.fails = 0
        self.reads: list[str] = []
        self.writes: list[str] = []
        self.settled: list[str] = []
        self.before_write: Callable[[], None] | None = None

    def prepare(self) -> None:
        if self.fails:
            raise away("away", "told to fail")

    def read(self, name: str) -> Content | None:
        self.reads.append(name)
        return self.objects.get(name)

    def write(self, name: str, body: bytes, *, replacing: Version | None) -> bool:
        meanwhile, self.before_write = self.before_write, None
        if meanwhile is not None:
            meanwhile()
        if self.fails:
            self.fails -= 1
            raise away("its disk is full", "told to fail")
        present = self.objects.get(name)
        if (present and present.version) != replacing:
            return False
        self.writes.append(name)
        self.objects[name] = Content(body, f"v{len(self.writes)}")
        return True

    def settle(self, name: str) -> None:
        self.settled.append(name)

    def versions(self, prefix: str) -> Mapping[str, Version]:
        return {
            name: content.version
            for name, content in self.objects.items()
            if name.startswith(f"{prefix}/")
        }
