"""
The Zipkin of a stack, asked by its API.

`traced_stack` runs one; services that are started on that stack export all their spans to it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import httpx2
from tests.support.stack import OwnStack

from orderflow.messaging.testing.eventually import eventually
from orderflow.stack.parts import zipkin

READY_WITHIN_S = 120
DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Zipkin:
    """`url`: where its API is."""

    url: str

    @classmethod
    def of(cls, stack: OwnStack) -> Zipkin:
        return cls(zipkin.url(stack.local.settings))

    def eventually_ready(self) -> None:
        """It starts after all the rest, in 5 s, or in 40 on a busy machine."""
        eventually(
            lambda: httpx2.get(f"{self.url}/health", timeout=5).is_success,
            within_s=READY_WITHIN_S,
            every_s=0.2,
            why="Zipkin is healthy",
        )

    def trace(self, trace_id: str) -> list[dict[str, Any]]:
        """The spans of a trace that have arrived, as Zipkin gives them; none if it knows none."""
        answer = httpx2.get(f"{self.url}/api/v2/trace/{trace_id}", timeout=10)
        return [] if answer.status_code == 404 else list(answer.raise_for_status().json())

    def services(self) -> set[str]:
        return set(self._get("/api/v2/services"))

    def dependencies(self) -> set[tuple[str, str]]:
        """Who calls whom, or feeds whom: (parent, child)."""
        now_ms = int(time.time() * 1_000)
        links = self._get(f"/api/v2/dependencies?endTs={now_ms + 60_000}&lookback={DAY_MS}")
        return {(link["parent"], link["child"]) for link in links}

    def _get(self, path: str) -> list[Any]:
        return list(httpx2.get(f"{self.url}{path}", timeout=10).raise_for_status().json())
