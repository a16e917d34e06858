"""What `orderflow lag` shows: computed from two surveys, for people and as JSON. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import groupby
from typing import Any

import msgspec
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from orderflow.cli.output import printable
from orderflow.messaging.kafka.clients import TRANSACTION_TIMEOUT_MS
from orderflow.messaging.kafka.lag import Lag
from orderflow.messaging.kafka.survey import GroupLag, Survey

OPEN_S = 5.0
HANGING_S = TRANSACTION_TIMEOUT_MS / 1000 + 10.0
"""A broker ends a transaction of a dead producer after its time-out, up to 10 s late."""

NAME_COLUMNS, BAR_COLUMNS = 28, 6
_BAR = "█"


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """
    How far, and how fast. `seconds`: None if an age could not be read. `drain_per_second`: by how
    many records the lag shrinks in a second; below 0 it grows; None: after one look nobody knows.
    """

    records: int
    seconds: float | None
    drain_per_second: float | None

    @property
    def seconds_to_zero(self) -> float | None:
        """At this pace; None: never, or not known."""
        if not self.records:
            return 0.0
        pace = self.drain_per_second
        return self.records / pace if pace is not None and pace > 0 else None


class TopicLag(msgspec.Struct, frozen=True, kw_only=True):
    topic: str
    pace: Pace
    partitions: Sequence[GroupLag]

    @property
    def is_replay(self) -> bool:
        return self.topic.endswith(".replay")


class GroupReport(msgspec.Struct, frozen=True, kw_only=True):
    group: str
    pace: Pace
    topics: Sequence[TopicLag]


class OpenTransaction(msgspec.Struct, frozen=True, kw_only=True):
    """`hanging`: older than any producer of ours may leave one; nobody will end it."""

    topic: str
    partition: int
    seconds: float | None

    @property
    def hanging(self) -> bool:
        return self.seconds is not None and self.seconds > HANGING_S


class Report(msgspec.Struct, frozen=True, kw_only=True):
    at: datetime
    brokers: int
    groups: Sequence[GroupReport]
    transactions: Sequence[OpenTransaction]
    troubles: Sequence[str]

    def of_group(self, group: str) -> Report:
        """This group alone; transactions, which may hold anybody back, stay."""
        return msgspec.structs.replace(
            self, groups=[row for row in self.groups if row.group == group]
        )


def report(survey: Survey, *, before: Survey) -> Report:
    """What `survey` shows, with the rates since `before`; the same one twice gives no rates."""
    elapsed_s = (survey.at - before.at).total_seconds()
    earlier = {(row.lag.group, row.lag.place): row.lag.records for row in before.lags}

    def pace(rows: Sequence[GroupLag]) -> Pace:
        records = sum(row.lag.records for row in rows)
        known = [earlier.get((row.lag.group, row.lag.place)) for row in rows]
        drained = sum(records for records in known if records is not None) - records
        ages = [row.seconds for row in rows]
        return Pace(
            records=records,
            seconds=None if None in ages else max((age for age in ages if age), default=0.0),
            drain_per_second=drained / elapsed_s if elapsed_s > 0 and None not in known else None,
        )

    return Report(
        at=survey.at,
        brokers=survey.brokers,
        groups=[
            GroupReport(
                group=group,
                pace=pace(of_group),
                topics=[
                    TopicLag(topic=topic, pace=pace(rows), partitions=rows)
                    for topic, rows in _by_topic(of_group)
                ],
            )
            for group, of_group in _by_group(survey.lags)
        ],
        transactions=[
            OpenTransaction(topic=topic, partition=partition, seconds=seconds)
            for (topic, partition), seconds in sorted(survey.open_transactions.items())
        ],
        troubles=[*_troubles(survey)],
    )


def lines(shown: Report) -> dict[str, Any]:
    """As one JSON object; the fields are public and stay."""
    return {
        "at": shown.at.isoformat(),
        "brokers": shown.brokers,
        "groups": [
            {
                "group": row.group,
                **_pace(row.pace),
                "topics": [
                    {
                        "topic": topic.topic,
                        **_pace(topic.pace),
                        "partitions": [_partition(of) for of in topic.partitions],
                    }
                    for topic in row.topics
                ],
            }
            for row in shown.groups
        ],
        "openTransactions": [
            {
                "topic": transaction.topic,
                "partition": transaction.partition,
                "seconds": _rounded(transaction.seconds),
                "hanging": transaction.hanging,
            }
            for transaction in shown.transactions
        ],
        "troubles": list(shown.troubles),
    }


def screen(shown: Report, *, partitions: bool = False) -> RenderableType:
    """Within 80 columns: a line for each group, and for each of its topics."""
    most = max((topic.pace.records for row in shown.groups for topic in row.topics), default=0)
    table = Table(box=None, pad_edge=False, collapse_padding=True)
    table.add_column("group and topics", width=NAME_COLUMNS, overflow="fold")
    # Folded where it does not fit: digits that are cut off would be another number.
    for column in ("records", "behind"):
        table.add_column(column, justify="right", overflow="fold")
    table.add_column("", width=BAR_COLUMNS, no_wrap=True)
    for column in ("change/s", "to zero"):
        table.add_column(column, justify="right", overflow="fold")

    for row in shown.groups:
        table.add_row(Text(printable(row.group), "bold"), *_cells(row.pace, ""))
        for topic in row.topics:
            # Replay topics are empty but for a day of repair.
            if topic.is_replay and not topic.pace.records:
                continue
            table.add_row(
                Text("  " + _name(topic.topic, row.group)),
                *_cells(topic.pace, _bar(topic.pace.records, most)),
            )
            for of in topic.partitions if partitions else ():
                table.add_row(*_partition_cells(of, most), style="dim")
    notes = [
        *_transaction_lines(shown.transactions),
        *(Text(printable(t), "yellow") for t in shown.troubles),
    ]
    return Group(table, *notes)


def duration(seconds: float | None) -> str:
    """In two units at most: 0 s, 42 s, 3 min 10 s, 2 h 5 min, 4 d 1 h; `?`: it is not known."""
    if seconds is None:
        return "?"
    left = round(seconds)
    for (unit, size), (smaller, part) in (
        (("d", 86_400), ("h", 3_600)),
        (("h", 3_600), ("min", 60)),
        (("min", 60), ("s", 1)),
    ):
        if left >= size:
            rest = left % size // part
            return f"{left // size} {unit}" + (f" {rest} {smaller}" if rest else "")
    return f"{left} s"


def _by_group(rows: Iterable[GroupLag]) -> list[tuple[str, list[GroupLag]]]:
    return [(group, [*of]) for group, of in groupby(rows, key=lambda row: row.lag.group)]


def _by_topic(rows: Iterable[GroupLag]) -> list[tuple[str, list[GroupLag]]]:
    return [(topic, [*of]) for topic, of in groupby(rows, key=lambda row: row.lag.topic)]


def _troubles(survey: Survey) -> Iterable[str]:
    if survey.missing:
        yield f"topics that do not exist: {', '.join(survey.missing)}"
    if survey.leaderless:
        yield f"partitions without a leader: {_places(survey.leaderless)}"

    for lag in (row.lag for row in survey.lags if row.lag.beyond):
        yield (
            f"{lag.group}: committed {lag.beyond:,} beyond the end of "
            f"{_places([lag.place])}: it will read all of it again"
        )

    if survey.unread:
        yield f"ages that could not be read: {_places(survey.unread)}"
    if survey.groups_left_out:
        yield f"{survey.groups_left_out} more groups are not shown"


def _places(places: Iterable[tuple[str, int]]) -> str:
    return ", ".join(f"{topic}-{partition}" for topic, partition in places)


def _pace(pace: Pace) -> dict[str, Any]:
    return {
        "records": pace.records,
        "seconds": _rounded(pace.seconds),
        "drainPerSecond": _rounded(pace.drain_per_second),
        "secondsToZero": _rounded(pace.seconds_to_zero),
    }


def _partition(row: GroupLag) -> dict[str, Any]:
    lag: Lag = row.lag
    return {
        "partition": lag.partition,
        "committed": lag.committed,
        "records": lag.records,
        "waiting": lag.waiting,
        "seconds": _rounded(row.seconds),
        "beyond": lag.beyond,
    }


def _rounded(number: float | None) -> float | None:
    return None if number is None else round(number, 3)


def _cells(pace: Pace, bar: str) -> tuple[Text, ...]:
    rate = pace.drain_per_second
    if rate is None:
        shown_rate = Text("?" if pace.records else "")
    elif not round(rate):
        shown_rate = Text("0" if pace.records else "")
    else:
        # As the lag moves, not as the group works: + for a lag that grows.
        shown_rate = Text(f"{-rate:+,.0f}", "red" if rate < 0 else "green")

    to_zero = "" if not pace.records else _to_zero(pace)
    return (
        Text(f"{pace.records:,}"),
        Text(duration(pace.seconds)),
        Text(bar, "cyan"),
        shown_rate,
        Text(to_zero),
    )


def _to_zero(pace: Pace) -> str:
    if pace.drain_per_second is None:
        return "?"
    return "never" if pace.seconds_to_zero is None else duration(pace.seconds_to_zero)


def _partition_cells(row: GroupLag, most: int) -> tuple[str, ...]:
    lag = row.lag
    waiting = f", {lag.waiting:,} wait" if lag.waiting else ""
    return (
        f"    {lag.partition}{waiting}",
        f"{lag.records:,}",
        duration(row.seconds),
        _bar(lag.records, most),
        "",
        "" if lag.committed is not None or not lag.records else "no commit",
    )


def _bar(records: int, most: int) -> str:
    """As long as the share of the largest lag; whoever is behind has at least one block."""
    return _BAR * max(1, round(BAR_COLUMNS * records / most)) if records else ""


def _name(topic: str, group: str) -> str:
    """Without the group's own name in it: its topics would not fit beside their numbers."""
    if topic.endswith(f".{group}.replay"):
        return f"{topic.removesuffix(f'.{group}.replay')} (replay)"
    return f"…{topic.removeprefix(group)}" if topic.startswith(f"{group}-") else topic


def _transaction_lines(transactions: Iterable[OpenTransaction]) -> Iterable[Text]:
    for transaction in transactions:
        place = f"{transaction.topic}-{transaction.partition}"
        if transaction.hanging:
            yield Text(
                f"{place}: a transaction hangs, for {duration(transaction.seconds)}: readers stop "
                "there, see docs/runbooks/hanging-transaction.md",
                "red",
            )
        elif transaction.seconds is None or transaction.seconds > OPEN_S:
            yield Text(f"{place}: a transaction is open, for {duration(transaction.seconds)}")
