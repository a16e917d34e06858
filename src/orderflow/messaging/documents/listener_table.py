"""
Tables of listeners as data: what each group listens to, with which guarantee, and what happens to a
record that fails. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from orderflow.messaging.errors import Poison
from orderflow.messaging.kafka.group_topics import dead_letter_topic, replay_topic
from orderflow.messaging.kafka.topics import Topic
from orderflow.messaging.listener import Listener


class TopicRow(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """
    One topic of a group: its types that are handled, and those that belong there and are skipped,
    by their full names; where its dead letters go and by which topic they come back.
    """

    topic: str
    handled: tuple[str, ...]
    skipped: tuple[str, ...]
    dead_letters: str
    replays: str


class ListenerRow(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """
    One listener. `attempts_max`: how often a record is tried that fails alone; `back_off_s`:
    seconds between, ± 20 %. `never_retried`: errors after which it is a dead letter at once, by
    their full names.
    """

    service: str
    group: str
    delivery: str
    topics: tuple[TopicRow, ...]
    publishes: tuple[str, ...]
    attempts_max: int
    back_off_s: tuple[float, ...]
    never_retried: tuple[str, ...]


def listener_row(listener: Listener, *, package: str) -> ListenerRow:
    """
    The row of a listener whose service is `package`. Its own errors are known once the modules that
    define them have been imported.
    """
    return ListenerRow(
        service=listener.name,
        group=listener.group,
        delivery=type(listener.delivery).__name__,
        topics=tuple(_topic(topic, listener) for topic in listener.topics),
        publishes=tuple(topic.name for topic in listener.publishes),
        attempts_max=listener.retry.attempts_max,
        back_off_s=listener.retry.back_off_s,
        never_retried=tuple(_hopeless(package)),
    )


def _topic(topic: Topic, listener: Listener) -> TopicRow:
    return TopicRow(
        topic=topic.name,
        handled=tuple(name for name in topic.types if name in listener.types),
        skipped=tuple(name for name in topic.types if name not in listener.types),
        dead_letters=dead_letter_topic(topic, listener.group).name,
        replays=replay_topic(topic, listener.group).name,
    )


def _hopeless(package: str) -> Iterator[str]:
    """The kit's own, then those that the service has made of it: as `RetryPolicy` decides."""
    yield _name(Poison)
    yield from sorted(name for name in map(_name, _below(Poison)) if name.startswith(f"{package}."))


def _name(kind: type[Poison]) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _below(kind: type[Poison]) -> Iterator[type[Poison]]:
    for each in kind.__subclasses__():
        yield each
        yield from _below(each)
