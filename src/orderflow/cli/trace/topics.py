"""Reads the records about an order from all topics that may have some."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import closing
from datetime import datetime
from typing import Any

from orderflow.cli.dlt.asking import desk
from orderflow.cli.trace.evidence import Answer, Missing, Position, Seen, seen
from orderflow.contracts.roster import ALL_GROUPS, ROSTER
from orderflow.messaging.dead_letters.dispositions import Disposition
from orderflow.messaging.dead_letters.letter_place import LetterId
from orderflow.messaging.errors import OrderflowError, Poison, Unavailable
from orderflow.messaging.event import CE_CORRELATION_ID
from orderflow.messaging.kafka.extract import Extract, Watch, extract
from orderflow.messaging.kafka.finished_offsets import Window
from orderflow.messaging.kafka.group_topics import group_topics
from orderflow.messaging.kafka.lag import committed_windows, observer
from orderflow.messaging.kafka.place import Place
from orderflow.messaging.kafka.topics import Topic
from orderflow.messaging.schemas.avro import Decoder
from orderflow.messaging.settings import KafkaSettings

BY_ORDER, BY_CUSTOMER = "orderId", "customerId"
PROGRESS_TIMEOUT_S = 3.0
LETTERS_MAX = 10


def wanted_topics(order_id: str, customer_id: str | None) -> dict[str, bytes | None]:
    """
    Every topic with events, each group's dead letters and replays included, with the key of the
    order's records there. None: they may have any key.
    """
    published = [topic for member in ROSTER for topic in member.publishes]
    derived = [
        topic for group, listened in ALL_GROUPS.items() for topic in group_topics(listened, group)
    ]
    return {topic.name: _key(topic, order_id, customer_id) for topic in (*published, *derived)}


def read_records(
    kafka: KafkaSettings,
    order_id: str,
    customer_id: str | None,
    *,
    since: datetime,
    records_max: int,
    watch: Watch,
) -> Extract:
    """The committed records with the order's key, or correlated with it. Raises as `extract`."""
    wanted = wanted_topics(order_id, customer_id)
    key, correlation = order_id.encode(), (CE_CORRELATION_ID, order_id.encode())

    def about_the_order(message: Any) -> bool:
        # Most records are others': their headers are not even unpacked.
        key_there = wanted[message.topic()]
        if key_there is not None and message.key() != key_there:
            return False
        return key_there == key or correlation in (message.headers() or ())

    return extract(
        kafka,
        wanted,
        about_the_order,
        since=since,
        records_max=records_max,
        watch=watch,
    )


def decoded(extracted: Extract, decoder: Decoder) -> tuple[list[Seen], list[Missing]]:
    """The records as evidence; once the registry is away, the rest of them without values."""
    away: list[Missing] = []

    def decode(value: bytes | None) -> tuple[Answer | None, str | None]:
        if away:
            return None, None
        try:
            return decoder.decode(value)[1], None
        except Poison:
            return None, "its value can't be decoded"
        except Unavailable:
            why = "the schema registry did not answer: what is in the records is left out"
            away.append(Missing(source="registry", why=why, unasked=True))
            return None, None

    return [seen(record, decode) for record in extracted.records], away


def gaps(extracted: Extract) -> list[Missing]:
    """What of the topics was not read."""
    return [
        *(
            Missing(source=topic, why="the cluster has no such topic", unasked=True)
            for topic in extracted.absent
            if topic in _ESSENTIAL
        ),
        *(
            Missing(
                source=f"{topic}-{partition}",
                why=f"read up to {until:%Y-%m-%d %H:%M:%S} only: --records-max reads more",
                unasked=True,
            )
            for (topic, partition), until in extracted.unread.items()
        ),
    ]


def read_progress(
    kafka: KafkaSettings, places: Mapping[str, Iterable[Place]]
) -> dict[tuple[str, str, int], Window]:
    """How far each group has come on its places. Without those that can't be asked in time."""
    progress: dict[tuple[str, str, int], Window] = {}
    for group, wanted in places.items():
        places_of_group = [*wanted]
        try:
            with closing(observer(kafka, group)) as client:
                windows = committed_windows(client, places_of_group, timeout_s=PROGRESS_TIMEOUT_S)
        except Exception:  # noqa: BLE001 - it is only asked to word better what is missing
            break

        # Who never committed has everything before it.
        progress |= {(group, *place): windows.get(place, Window(0)) for place in places_of_group}
    return progress


def read_dispositions(
    kafka: KafkaSettings, records: Iterable[Seen]
) -> dict[Position, Disposition | None]:
    """What has become of the first dead letters among the records; None: open."""
    letters = [seen.position for seen in records if seen.letter is not None]
    at_desk, known = desk(kafka), dict[Position, Disposition | None]()
    for position in letters[:LETTERS_MAX]:
        try:
            known[position] = at_desk.find(LetterId(*position)).disposition
        except OrderflowError:
            # The story goes without.
            break
    return known


def _key(topic: Topic, order_id: str, customer_id: str | None) -> bytes | None:
    if topic.key == BY_ORDER:
        return order_id.encode()
    if topic.key == BY_CUSTOMER and customer_id is not None:
        return customer_id.encode()
    return None


_ESSENTIAL = frozenset(topic.name for member in ROSTER for topic in member.publishes)
