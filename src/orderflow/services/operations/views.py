"""The JSON bodies about the cluster: how far everybody is behind, and who is in which group."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TypedDict

import msgspec

from orderflow.messaging.kafka.groups import Member, Membership
from orderflow.messaging.kafka.lag_report import (
    GroupReport,
    OpenTransaction,
    Pace,
    Report,
    TopicLag,
)
from orderflow.messaging.kafka.survey import GroupLag

DEAD = "Dead"
"""Kafka's word for a group that its brokers know nothing of."""


class PartitionLagView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """
    `waiting`: of the `records`, those that were begun and wait in place. `seconds`: null if the
    age could not be read. `beyond`: by how much the committed offset is above the end of the log.
    """

    partition: int
    committed: int | None
    records: int
    waiting: int
    seconds: float | None
    beyond: int


class PaceView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """
    `drainPerSecond`: by how many records the lag shrinks in a second; below 0 it grows; null at
    the first look. `secondsToZero`: at that pace; null: never, or not known.
    """

    records: int
    seconds: float | None
    drain_per_second: float | None
    seconds_to_zero: float | None


class TopicLagView(PaceView, frozen=True, kw_only=True, rename="camel"):
    topic: str
    partitions: tuple[PartitionLagView, ...]


class GroupLagView(PaceView, frozen=True, kw_only=True, rename="camel"):
    group: str
    topics: tuple[TopicLagView, ...]


class TransactionView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A transaction that is open. `hanging`: nobody will end it, and readers stop there."""

    topic: str
    partition: int
    seconds: float | None
    hanging: bool


class LagPage(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A page of groups, by name; `openTransactions` and `troubles` are those of the cluster."""

    at: datetime
    brokers: int
    items: tuple[GroupLagView, ...]
    next_cursor: str | None
    open_transactions: tuple[TransactionView, ...]
    troubles: tuple[str, ...]


class PlaceView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    topic: str
    partition: int


class MemberView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    client_id: str
    host: str
    partitions: tuple[PlaceView, ...]


class GroupView(PaceView, frozen=True, kw_only=True, rename="camel"):
    """`state`: in Kafka's words; Dead: the brokers know nothing of the group."""

    group: str
    state: str
    members: tuple[MemberView, ...]


class GroupsPage(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    at: datetime
    items: tuple[GroupView, ...]
    next_cursor: str | None


def lag_page(report: Report, shown: tuple[GroupReport, ...], next_cursor: str | None) -> LagPage:
    return LagPage(
        at=report.at,
        brokers=report.brokers,
        items=tuple(_group_lag(row) for row in shown),
        next_cursor=next_cursor,
        open_transactions=tuple(_transaction(row) for row in report.transactions),
        troubles=tuple(report.troubles),
    )


def group_view(row: GroupReport, known: Mapping[str, Membership]) -> GroupView:
    membership = known.get(row.group)
    return GroupView(
        group=row.group,
        state=DEAD if membership is None else membership.state,
        members=tuple(_member(member) for member in membership.members) if membership else (),
        **_pace(row.pace),
    )


def _group_lag(row: GroupReport) -> GroupLagView:
    return GroupLagView(
        group=row.group, topics=tuple(_topic_lag(topic) for topic in row.topics), **_pace(row.pace)
    )


def _topic_lag(row: TopicLag) -> TopicLagView:
    return TopicLagView(
        topic=row.topic,
        partitions=tuple(_partition_lag(of) for of in row.partitions),
        **_pace(row.pace),
    )


def _partition_lag(row: GroupLag) -> PartitionLagView:
    lag = row.lag
    return PartitionLagView(
        partition=lag.partition,
        committed=lag.committed,
        records=lag.records,
        waiting=lag.waiting,
        seconds=_rounded(row.seconds),
        beyond=lag.beyond,
    )


def _transaction(row: OpenTransaction) -> TransactionView:
    return TransactionView(
        topic=row.topic,
        partition=row.partition,
        seconds=_rounded(row.seconds),
        hanging=row.hanging,
    )


def _member(member: Member) -> MemberView:
    return MemberView(
        client_id=member.client_id,
        host=member.host,
        partitions=tuple(
            PlaceView(topic=topic, partition=partition) for topic, partition in member.partitions
        ),
    )


class _Pace(TypedDict):
    records: int
    seconds: float | None
    drain_per_second: float | None
    seconds_to_zero: float | None


def _pace(pace: Pace) -> _Pace:
    return {
        "records": pace.records,
        "seconds": _rounded(pace.seconds),
        "drain_per_second": _rounded(pace.drain_per_second),
        "seconds_to_zero": _rounded(pace.seconds_to_zero),
    }


def _rounded(number: float | None) -> float | None:
    return None if number is None else round(number, 3)
