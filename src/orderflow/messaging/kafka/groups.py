"""A consumer group from outside: who has what, where it begins to read, delete its offsets."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import msgspec
from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from orderflow.messaging.errors import Unavailable
from orderflow.messaging.kafka.clients import client_config, consumer
from orderflow.messaging.kafka.place import Place
from orderflow.messaging.settings import KafkaSettings

REQUEST_TIMEOUT_S = 10.0
ASSIGNED_TIMEOUT_S = 2.0


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """A consumer in a group. `host`: from where it is connected, as its coordinator sees it."""

    client_id: str
    host: str
    partitions: tuple[Place, ...]


class Membership(msgspec.Struct, frozen=True, kw_only=True):
    """
    A group as its coordinator has it. `state`: in Kafka's words (Stable, PreparingRebalance,
    CompletingRebalance, Empty, Dead); members have partitions in a stable group only.

    Of a group of the next generation's protocol (KIP-848) the members are not told.
    """

    group: str
    state: str
    members: tuple[Member, ...]


class Groups:
    """Who is in which group, asked again and again over one connection."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._admin = AdminClient(client_config(settings))

    def memberships(self) -> dict[str, Membership]:
        """
        All groups that the brokers know, by their names. Raises Unavailable when the brokers do not
        answer within 2 s.
        """
        return {
            described.id: Membership(
                group=described.id,
                state=described.state,
                members=tuple(
                    Member(
                        client_id=member.client_id,
                        host=member.client_host.removeprefix("/"),
                        partitions=tuple(sorted(_places(member.assignment or b""))),
                    )
                    for member in described.members
                ),
            )
            for described in _described(self._admin, None, "could not ask who is in which group")
        }


class Members:
    """Who is in a classic group, asked again and again over one connection."""

    def __init__(self, settings: KafkaSettings, group: str) -> None:
        self._group = group
        self._admin = AdminClient(client_config(settings))

    def assigned(self) -> dict[Place, str]:
        """
        The client id of the member that each partition is assigned to; empty while the group
        rebalances. Raises Unavailable when the brokers do not answer within 2 s.
        """
        groups = _described(
            self._admin, self._group, f"could not ask who is in group {self._group}"
        )
        return {
            place: member.client_id
            for described in groups
            for member in described.members
            for place in _places(member.assignment or b"")
        }


def begin_at(settings: KafkaSettings, group: str, topic: str, offsets: Mapping[int, int]) -> None:
    """
    Commit `offsets` (by partition) for a group without members: it will read `topic` from there.

    Raises Unavailable when the cluster does not answer, or the group has members.
    """
    client = consumer(settings, group)
    try:
        positions = [
            TopicPartition(topic, partition, offset) for partition, offset in offsets.items()
        ]
        client.commit(offsets=positions, asynchronous=False)
    except KafkaException as error:
        raise Unavailable(
            f"could not place group {group} on {topic}: {error.args[0].str()}", resource="broker"
        ) from error
    finally:
        client.close()


def forget(settings: KafkaSettings, group: str) -> None:
    """Delete the group's offsets if it has no members. A failure is ignored: it does no harm."""
    admin = AdminClient(client_config(settings))
    with suppress(KafkaException):
        admin.delete_consumer_groups([group], request_timeout=REQUEST_TIMEOUT_S)[group].result()


def _described(admin: AdminClient, group: str | None, failure: str) -> Any:
    """Groups with their members; None: all. Raises Unavailable, which says `failure`."""
    # The old call that waits: with the new one, a connection that breaks meanwhile can end the
    # process (librdkafka issue 4605).
    try:
        return admin.list_groups(group, ASSIGNED_TIMEOUT_S)
    except KafkaException as error:
        raise Unavailable(f"{failure}: {error.args[0].str()}", resource="broker") from error


def _places(assignment: bytes) -> list[Place]:
    """The partitions in a member's assignment; none if it is not of the consumer protocol."""
    try:
        return [*_parsed(assignment)]
    except (struct.error, UnicodeDecodeError):
        return []


def _parsed(assignment: bytes) -> Iterator[Place]:
    _version, topics = _HEADER.unpack_from(assignment)
    at = _HEADER.size
    for _ in range(topics):
        (size,) = _SHORT.unpack_from(assignment, at)
        at += _SHORT.size
        if size < 0:
            raise struct.error("a topic without a name")

        topic = assignment[at : at + size].decode()
        at += size
        (count,) = _INT.unpack_from(assignment, at)
        at += _INT.size
        for _number in range(count):
            yield topic, _INT.unpack_from(assignment, at)[0]
            at += _INT.size


_HEADER = struct.Struct(">hi")
_SHORT = struct.Struct(">h")
_INT = struct.Struct(">i")
