"""`orderflow tail <topic>`: committed records as they arrive, decoded."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer
from rich.highlighter import JSONHighlighter
from rich.text import Text

from orderflow.cli.configuration import tool_settings
from orderflow.cli.output import write_json
from orderflow.cli.records import ReadableRecord, readable_records
from orderflow.cli.terminal import Terminal
from orderflow.messaging.event import CE_TYPE
from orderflow.messaging.kafka.reader import end_offsets
from orderflow.messaging.schemas.avro import Decoder
from orderflow.messaging.schemas.registry import Registry


def tail(
    topic: Annotated[str, typer.Argument(help="The topic's name.")],
    from_beginning: Annotated[
        bool, typer.Option("--from-beginning", help="Start at the oldest record.")
    ] = False,
    count_max: Annotated[
        int | None, typer.Option("--max", min=1, help="Leave after this many records.")
    ] = None,
    key: Annotated[str | None, typer.Option("--key", help="Only records with this key.")] = None,
    follow: Annotated[bool, typer.Option(help="Wait for more at the end.")] = True,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object per record and line.")
    ] = False,
) -> None:
    """
    Print a topic's committed records: partition, offset, key, headers, decoded value. Ctrl-C ends
    it.

    Example: orderflow tail order-events --from-beginning --max 5
    """
    settings = tool_settings()
    decoder = Decoder(Registry(settings.registry))
    start = None if from_beginning else end_offsets(settings.kafka, topic)

    console = Terminal(soft_wrap=True)
    shown = 0
    try:
        for record in readable_records(settings.kafka, decoder, topic, start=start, follow=follow):
            if record is None or (key is not None and record.key != key):
                continue
            _print(record, console, as_json=as_json)
            shown += 1
            if shown == count_max:
                break
    except KeyboardInterrupt:
        raise typer.Exit(0) from None


def _print(record: ReadableRecord, console: Terminal, *, as_json: bool) -> None:
    if as_json:
        write_json(record)
        return

    place = Text.assemble(
        (f"{record.topic}-{record.partition}@{record.offset}", "bold cyan"),
        ("  key ", "dim"),
        record.key or "none",
        ("  ", ""),
        (record.type or "no type", "bold"),
        (f"  {record.timestamp:%Y-%m-%d %H:%M:%S.%f}"[:-3], "dim"),
    )
    headers = "  ".join(
        f"{name}={value}" for name, value in record.headers.items() if name != CE_TYPE
    )
    console.print(place)
    if headers:
        console.print(Text(f"  {headers}", "dim"))
    console.print(_value(record))


def _value(record: ReadableRecord) -> Text:
    if record.problem is not None:
        return Text(f"  undecodable: {record.problem}", "red")
    return JSONHighlighter()(Text("  " + msgspec.json.encode(record.value).decode()))
