"""What a process exported over some time, in a form in which rules about metrics are evaluated."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
from prometheus_client.parser import text_string_to_metric_families

Series = tuple[str, tuple[tuple[str, str], ...]]
"""A sample's name, and its labels in alphabetical order."""


def scraped(client: httpx2.Client) -> dict[Series, float]:
    """Every sample that `/metrics` has now."""
    text = client.get("/metrics").text
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(samples: Mapping[Series, float], name: str, **labels: str) -> float | None:
    """The sample with these labels and no others; None if there is none."""
    return samples.get((name, tuple(sorted(labels.items()))))


@dataclass
class Recording:
    """
    Scrapes in the order of their times, each `interval_s` after the one before.

    `input_series` is promtool's form for tests of rules: a value for each interval, `_` where there
    is none.
    """

    interval_s: float
    scrapes: list[dict[Series, float]] = field(default_factory=list)

    def values(self, name: str, **labels: str) -> list[float | None]:
        return [value(scrape, name, **labels) for scrape in self.scrapes]

    def input_series(self, *names: str) -> list[dict[str, str]]:
        every = sorted({series for scrape in self.scrapes for series in scrape})
        return [
            {
                "series": _written(series),
                "values": " ".join(_number(scrape.get(series)) for scrape in self.scrapes),
            }
            for series in every
            if series[0] in names
        ]

    def save(self, path: Path, *names: str) -> None:
        """As JSON: `interval` (`1s`) and `input_series`."""
        recorded = {
            "interval": f"{self.interval_s:g}s",
            "input_series": self.input_series(*names),
        }
        path.write_text(json.dumps(recorded, indent=2) + "\n")


@contextmanager
def recording(client: httpx2.Client, *, every_s: float = 1.0) -> Iterator[Recording]:
    """Scrapes on a thread of its own until the block ends."""
    taken, stop = Recording(every_s), threading.Event()

    def scrape() -> None:
        due = time.monotonic()
        while not stop.wait(max(0.0, due - time.monotonic())):
            taken.scrapes.append(scraped(client))
            due += every_s

    thread = threading.Thread(target=scrape, daemon=True)
    thread.start()
    try:
        yield taken
    finally:
        stop.set()
        thread.join(20)


def _written(series: Series) -> str:
    name, labels = series
    return f"{name}{{{', '.join(f'{label}={json.dumps(text)}' for label, text in labels)}}}"


def _number(number: float | None) -> str:
    return "_" if number is None else f"{number:g}"
