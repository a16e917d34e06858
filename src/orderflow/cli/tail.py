"""`orderflow tail <topic>`: committed records as they arrive, decoded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import msgspec
import typer
from rich.highlighter import JSONHighlighter
from rich.text import Text

from orderflow.cli import completion
from orderflow.cli.configuration import tool_settings
from orderflow.cli.dlt.answers import answer
from orderflow.cli.dlt.words import evidence_line
from orderflow.cli.output import printable, write_json
from orderflow.cli.records import ReadableRecord, readable_records
from orderflow.cli.terminal import Terminal
from orderflow.cli.watching import until_ctrl_c
from orderflow.messaging.event import (
    CE_TYPE,
    CONNECT_ERRORS,
    CONNECT_STACK_TRACE,
    DLT_EXCEPTION_STACKTRACE,
)
from orderflow.messaging.kafka.reader import end_offsets
from orderflow.messaging.schemas.avro import Decoder
from orderflow.messaging.schemas.registry import Registry

TOLD_IN_EVIDENCE = ("kafka_dlt-", "retry_topic-", "orderflow-", CONNECT_ERRORS)
"""How the headers begin that the line of evidence tells in words."""


def tail(
    topic: Annotated[
        str, typer.Argument(help="The topic's name.", autocompletion=completion.topics)
    ],
    from_beginning: Annotated[
        bool, typer.Option("--from-beginning", help="Start at the oldest record.")
    ] = False,
    count_max: Annotated[
        int | None, typer.Option("--max", min=1, help="Leave after this many records.")
    ] = None,
    key: Annotated[str | None, typer.Option("--key", help="Only records with this key.")] = None,
    follow: Annotated[bool, typer.Option(help="Wait for more at the end.")] = True,
    verbose: Annotated[
        bool,
        typer.Option("--verbose", "-v", help="Of a dead letter all headers, and its stack trace."),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object per record and line.")
    ] = False,
) -> None:
    """
    Print a topic's committed records: partition, offset, key, headers, decoded value. Ctrl-C ends
    it. Of a dead letter, one line says where it was, who gave it up, and why.

    \b
    Examples:
      orderflow tail order-events --from-beginning --max 5
      orderflow tail orders.payment-service.dlt --from-beginning --no-follow
      orderflow tail orders.payment-service.dlt --from-beginning --no-follow -v
    """
    settings = tool_settings()
    decoder = Decoder(Registry(settings.registry))
    start = None if from_beginning else end_offsets(settings.kafka, topic)

    console = Terminal(soft_wrap=True)
    count = 0
    with until_ctrl_c():
        for record in readable_records(settings.kafka, decoder, topic, start=start, follow=follow):
            if record is None or (key is not None and record.key != key):
                continue
            if as_json:
                write_json(_answer(record))
            else:
                for line in shown(record, verbose=verbose):
                    console.print(line)
            count += 1
            if count == count_max:
                break


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
