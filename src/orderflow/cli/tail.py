"""`orderflow tail <topic>`: committed records as they arrive, decoded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from itertools import chain
from typing import Annotated, Any

import msgspec
import typer
from rich.highlighter import JSONHighlighter
from rich.text import Text

from orderflow.cli import completion
from orderflow.cli.configuration import ToolSettings, tool_settings
from orderflow.cli.dlt.answers import answer
from orderflow.cli.dlt.words import evidence_line
from orderflow.cli.instance import BrokersOption, chosen_instance
from orderflow.cli.moments import moment_of
from orderflow.cli.output import printable, write_json
from orderflow.cli.records import ReadableRecord, readable_records
from orderflow.cli.tail_window import Ranges, at_offset, last_records, place_of
from orderflow.cli.terminal import Terminal
from orderflow.cli.watching import until_ctrl_c
from orderflow.contracts.roster import ROSTER
from orderflow.messaging.errors import ConfigurationError
from orderflow.messaging.event import (
    CE_TYPE,
    CONNECT_ERRORS,
    CONNECT_STACK_TRACE,
    DLT_EXCEPTION_STACKTRACE,
)
from orderflow.messaging.kafka.reader import (
    Offsets,
    end_offsets,
    offset_ranges,
    offsets_since,
    refuse_unknown,
)
from orderflow.messaging.schemas.avro import Decoder
from orderflow.messaging.schemas.registry import Registry

TOLD_IN_EVIDENCE = ("kafka_dlt-", "retry_topic-", "orderflow-", CONNECT_ERRORS)
"""How the headers begin that the line of evidence tells in words."""


TOPICS_SHOWN = ", ".join(dict.fromkeys(topic.name for each in ROSTER for topic in each.publishes))
TOPIC_HELP = (
    f"A topic, or a record's place as orders-0@54. Topics: {TOPICS_SHOWN}; and of each group "
    "TOPIC.GROUP.dlt with its dead letters, TOPIC.GROUP.replay with what was sent back."
)


def tail(
    topic: Annotated[
        str,
        typer.Argument(metavar="TOPIC", help=TOPIC_HELP, autocompletion=completion.topics),
    ],
    *,
    partition: Annotated[
        int | None, typer.Option("--partition", "-p", min=0, help="Only this partition.")
    ] = None,
    from_beginning: Annotated[
        bool, typer.Option("--from-beginning", help="Start at the oldest record.")
    ] = False,
    offset: Annotated[
        int | None, typer.Option("--offset", min=0, help="Start at this offset.")
    ] = None,
    since: Annotated[
        str,
        typer.Option("--since", metavar="TIME", help="Start there: 10min, 2h, 2026-01-31T09:05."),
    ] = "",
    last: Annotated[
        int | None,
        typer.Option("--last", "-n", min=1, help="The last records, by time; then leave."),
    ] = None,
    count_max: Annotated[
        int | None, typer.Option("--max", min=1, help="Leave after this many records.")
    ] = None,
    key: Annotated[str | None, typer.Option("--key", help="Only records with this key.")] = None,
    follow: Annotated[
        bool | None,
        typer.Option(
            "--follow/--no-follow", "-f", help="Wait for more at the end; without --last it does."
        ),
    ] = None,
    verbose: Annotated[
        bool,
        typer.Option("--verbose", "-v", help="Of a dead letter all headers, and its stack trace."),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object per record and line.")
    ] = False,
    brokers: BrokersOption = None,
) -> None:
    """
    Print a topic's committed records: partition, offset, key, headers, decoded value. It begins
    with what comes next and goes on until Ctrl-C, if not told otherwise. Of a dead letter, one line
    says where it was, who gave it up, and why. Another cluster than the local stack's is read with
    ORDERFLOW_KAFKA__BOOTSTRAP_SERVERS and ORDERFLOW_REGISTRY__URL.

    \b
    Examples:
      orderflow tail orders --last 5
      orderflow tail orders-0@54
      orderflow tail payments --since 10min --no-follow
      orderflow tail order-events --partition 2 --offset 100 --max 5
      orderflow tail orders.payment-service.dlt --from-beginning --no-follow -v
    """
    settings = tool_settings(of=chosen_instance(brokers))
    if (place := place_of(topic)) is not None:
        topic, partition, offset = place
        count_max, follow = count_max or 1, bool(follow)
    if sum(map(bool, (from_beginning, offset is not None, since, last))) > 1:
        raise ConfigurationError("say one of --from-beginning, --offset, --since and --last")

    records = _Records(settings, topic, partition, key)
    wanted: Iterable[ReadableRecord | None]
    if last is not None:
        newest, after = records.last(last)
        wanted = chain(newest, records.read(after, follow=True) if follow else ())
    else:
        start = records.start(from_beginning=from_beginning, offset=offset, since=since)
        wanted = records.read(start, follow=follow is not False)
    with until_ctrl_c():
        _show(wanted, count_max=count_max, verbose=verbose, as_json=as_json)


class _Records:
    """The records of a topic that are wanted, from wherever it is read."""

    def __init__(
        self, settings: ToolSettings, topic: str, partition: int | None, key: str | None
    ) -> None:
        self._kafka, self._topic, self._key = settings.kafka, topic, key
        self._decoder = Decoder(Registry(settings.registry))
        self._partition = partition

    def start(self, *, from_beginning: bool, offset: int | None, since: str) -> Offsets | None:
        """Where to begin; None: at the oldest record."""
        if from_beginning:
            return None
        if since:
            moment = moment_of(since, now=datetime.now(UTC))
            return offsets_since(self._kafka, self._topic, moment)
        if offset is not None:
            return at_offset(self._topic, offset, self._ranges())
        return end_offsets(self._kafka, self._topic)

    def last(self, count: int) -> tuple[list[ReadableRecord], Offsets]:
        """The newest records, and where what comes after them begins."""
        ranges = self._ranges()
        after = {partition: end for partition, (_, end) in ranges.items()}

        def read_from(start: Offsets) -> Iterator[ReadableRecord]:
            for record in self.read(start, follow=False):
                if record is not None and record.offset < after[record.partition]:
                    yield record

        return last_records(read_from, ranges, count), after

    def read(self, start: Offsets | None, *, follow: bool) -> Iterator[ReadableRecord | None]:
        """The records that are wanted; None is a quiet moment."""
        for record in readable_records(
            self._kafka,
            self._decoder,
            self._topic,
            start=start,
            follow=follow,
            partitions=None if self._partition is None else (self._partition,),
        ):
            if record is None or self._key is None or record.key == self._key:
                yield record

    def _ranges(self) -> Ranges:
        ranges = offset_ranges(self._kafka, self._topic)
        if self._partition is None:
            return ranges
        refuse_unknown(self._topic, ranges, (self._partition,))
        return {self._partition: ranges[self._partition]}


def _show(
    records: Iterable[ReadableRecord | None],
    *,
    count_max: int | None,
    verbose: bool,
    as_json: bool,
) -> None:
    """Show records until that many are shown; say once that it waits for more."""
    console = Terminal(soft_wrap=True)
    count, waits = 0, False
    for record in records:
        if record is None:
            if not waits and not as_json:
                Terminal(stderr=True).print("waiting for more; Ctrl-C ends", style="dim")
            waits = True
            continue

        if as_json:
            write_json(_answer(record))
        else:
            for line in shown(record, verbose=verbose):
                console.print(line)
        count += 1
        if count == count_max:
            return


def _answer(record: ReadableRecord) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.to_builtins(record)
    if record.evidence is None:
        del fields["evidence"]
        return fields
    return {**fields, "evidence": answer(record.evidence)}


def shown(record: ReadableRecord, *, verbose: bool = False) -> Iterator[Text]:
    """The record's lines, whoever wrote it."""
    yield Text.assemble(
        (f"{record.topic}-{record.partition}@{record.offset}", "bold cyan"),
        ("  key ", "dim"),
        printable(record.key or "none"),
        ("  ", ""),
        (printable(record.type or "no type"), "bold"),
        (f"  {record.timestamp:%Y-%m-%d %H:%M:%S.%f}"[:-3], "dim"),
    )
    if record.evidence is not None:
        yield Text(f"  {evidence_line(record.evidence)}", "red")

    headers = _headers(record, everything=verbose or record.evidence is None)
    if headers:
        yield Text(f"  {headers}", "dim")
    yield _value(record)
    if verbose and record.evidence is not None and record.evidence.stack_trace:
        for line in record.evidence.stack_trace.splitlines():
            yield Text(f"    {printable(line)}", "dim")


def _headers(record: ReadableRecord, *, everything: bool) -> str:
    return "  ".join(
        f"{printable(name)}={printable(str(value))}"
        for name, value in record.headers.items()
        if name not in (CE_TYPE, DLT_EXCEPTION_STACKTRACE, CONNECT_STACK_TRACE)
        and (everything or not name.startswith(TOLD_IN_EVIDENCE))
    )


def _value(record: ReadableRecord) -> Text:
    if record.problem is not None:
        return Text(f"  undecodable: {printable(record.problem)}", "red")
    value = printable(msgspec.json.encode(record.value).decode())
    return JSONHighlighter()(Text(f"  {value}"))
