"""What `orderflow lag` shows of a report, for people and as JSON. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from orderflow.cli.output import printable
from orderflow.messaging.kafka.lag import Lag
from orderflow.messaging.kafka.lag_report import OpenTransaction, Pace, Report
from orderflow.messaging.kafka.survey import GroupLag

OPEN_S = 5.0
NAME_COLUMNS, BAR_COLUMNS = 28, 6
_BAR = "█"


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
