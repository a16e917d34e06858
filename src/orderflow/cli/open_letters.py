"""How many dead letters are open, as `orderflow status` shows it: asked of `operations`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import httpx2
import msgspec

from orderflow.cli.output import printable
from orderflow.cli.trace.words import duration
from orderflow.messaging.http.client import BoundedClient
from orderflow.messaging.telemetry import read_samples
from orderflow.stack.supervise.managed import ProcessRow, State

ASK_WITHIN_S = 2.0
OBSERVER = "operations"
OPEN, OLDEST = "orderflow_dead_letters_open", "orderflow_dead_letters_open_oldest_seconds"

Samples = Mapping[tuple[str, Any], float]


class OpenOfGroup(msgspec.Struct, frozen=True, kw_only=True):
    """A group's open dead letters, by dead-letter topic, and the age of the oldest, in seconds."""

    group: str
    topics: Mapping[str, int]
    oldest_s: float

    @property
    def letters(self) -> int:
        return sum(self.topics.values())

    @property
    def sentence(self) -> str:
        """What is open and what to type; empty if nothing is."""
        if not self.letters:
            return ""
        are = "dead letter is" if self.letters == 1 else "dead letters are"
        return (
            f"{printable(self.group)}: {self.letters:,} {are} open, the oldest for "
            f"{duration(self.oldest_s * 1000)}: `orderflow dlt list --group {self.group}`"
        )


class OpenLetters(msgspec.Struct, frozen=True, kw_only=True):
    """
    By group, as `operations` counted them some seconds ago. None: not known, for the `reason`; or
    there is nobody to ask, and no reason.
    """

    groups: Mapping[str, OpenOfGroup] | None = None
    reason: str = ""

    @property
    def sentences(self) -> list[str]:
        """A line for each group that has some, or why nobody knows."""
        if self.groups is None:
            return [f"dead letters: {self.reason}"] if self.reason else []
        return [group.sentence for group in self.groups.values() if group.letters]

    @property
    def are_there(self) -> bool:
        """Whether a dead letter is known to be open."""
        return any(group.letters for group in (self.groups or {}).values())

    def of(self, group: str) -> OpenOfGroup | None:
        """None: not known."""
        if self.groups is None:
            return None
        return self.groups.get(group, OpenOfGroup(group=group, topics={}, oldest_s=0.0))


def open_letters(processes: Sequence[ProcessRow]) -> OpenLetters:
    """The open dead letters of the instance with these processes, within 2 s."""
    observer = next((row for row in processes if row.service == OBSERVER), None)
    if observer is None:
        return OpenLetters()
    if observer.state != State.RUNNING:
        return OpenLetters(reason=f"{observer.name}, which counts them, does not run")

    try:
        with BoundedClient(within_s=ASK_WITHIN_S, timeout=ASK_WITHIN_S, trust_env=False) as client:
            answer = client.get(f"{observer.address}/metrics").raise_for_status()
            samples = read_samples(answer.text)
    except (httpx2.HTTPError, ValueError):
        return OpenLetters(reason=f"{observer.name}, which counts them, does not answer")
    return counted(samples, observer.name)


def counted(samples: Samples, observer: str) -> OpenLetters:
    """What the observer exports of them; it exports nothing before it has read them all."""
    groups: dict[str, dict[str, int]] = {}
    oldest: dict[str, float] = {}
    for (name, labels), value in samples.items():
        of = dict(labels)
        if name == OPEN:
            groups.setdefault(of["consumergroup"], {})[of["topic"]] = int(value)
        elif name == OLDEST:
            oldest[of["consumergroup"]] = max(value, oldest.get(of["consumergroup"], 0.0))

    if not groups:
        return OpenLetters(reason=f"{observer}, which counts them, has not read all of them yet")
    return OpenLetters(
        groups={
            group: OpenOfGroup(group=group, topics=topics, oldest_s=oldest.get(group, 0.0))
            for group, topics in sorted(groups.items())
        }
    )
