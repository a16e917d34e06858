"""`orderflow trace <orderId>`: asks everybody, tells the story."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Annotated
from uuid import UUID

import httpx2
import msgspec
import typer

from orderflow.cli.api_client import Api
from orderflow.cli.configuration import ToolSettings, tool_settings
from orderflow.cli.output import write_json
from orderflow.cli.terminal import Terminal
from orderflow.cli.trace.answers import Answers, Apis, ask_services
from orderflow.cli.trace.evidence import Evidence, Missing, Seen, moment
from orderflow.cli.trace.lines import read_lines
from orderflow.cli.trace.story import Story, customer_of, tell
from orderflow.cli.trace.topics import (
    decoded,
    gaps,
    read_dispositions,
    read_progress,
    read_records,
)
from orderflow.cli.trace.view import shown
from orderflow.contracts.ids import order_id_of
from orderflow.messaging.errors import ConfigurationError, OrderflowError
from orderflow.messaging.kafka.extract import Watch
from orderflow.messaging.kafka.place import Place
from orderflow.messaging.schemas.avro import Decoder
from orderflow.messaging.schemas.registry import Registry
from orderflow.stack.lifecycle import current
from orderflow.stack.ports import HOST
from orderflow.stack.settings import StackSettings

CLOCKS_APART = timedelta(seconds=5)
"""How far the clocks of services and brokers may differ."""
RECORDS_MAX = 200_000
ZIPKIN_PORT = 9411
ZIPKIN_TIMEOUT_S = 1.0
WATCH_EVERY = 5_000


OrderId = Annotated[str, typer.Argument(metavar="ORDER_ID", help="The order's id.")]
RecordsMax = Annotated[
    int, typer.Option("--records-max", min=1, help="How many records of a partition to look at.")
]
Logs = Annotated[
    Path | None, typer.Option("--logs", help="Where the processes' lines are (*.log), if not here.")
]
Url = Annotated[str, typer.Option("--url", help="The order API; the local stack's, if not given.")]
PaymentUrl = Annotated[str, typer.Option("--payment-url", help="The payment API.")]
InventoryUrl = Annotated[str, typer.Option("--inventory-url", help="The inventory API.")]
NotificationUrl = Annotated[str, typer.Option("--notification-url", help="The notification API.")]
FulfilmentUrl = Annotated[str, typer.Option("--fulfilment-url", help="The fulfilment API.")]


def trace(
    order: OrderId,
    *,
    everything: Annotated[
        bool, typer.Option("--all", help="Also what changed nothing: skipped records, revenue.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The story as one JSON object.")] = False,
    records_max: RecordsMax = RECORDS_MAX,
    logs: Logs = None,
    url: Url = "",
    payment_url: PaymentUrl = "",
    inventory_url: InventoryUrl = "",
    notification_url: NotificationUrl = "",
    fulfilment_url: FulfilmentUrl = "",
) -> None:
    """
    Tell what happened to an order: who did what when, on which topic, how long it took, what
    failed, which mails went out, what it waits for now. No tracing back end is needed.

    The story is put together from the topics, the services' answers, and the lines of this host's
    processes. What could not be learned stands at its end. Exit 0 if everybody could be asked; 1 if
    not, or if there is no such order.

    \b
    Examples:
      orderflow trace 019ac5d2-6c4e-7b1a-9d3f-2f6d0c8e4a10
      orderflow trace 019ac5d2-6c4e-7b1a-9d3f-2f6d0c8e4a10 --all
      orderflow trace 019ac5d2-6c4e-7b1a-9d3f-2f6d0c8e4a10 --json | jq .missing
    """
    others = {
        "payment": payment_url,
        "inventory": inventory_url,
        "notification": notification_url,
        "fulfilment": fulfilment_url,
    }

    story = story_at(order, url, others, logs=logs, records_max=records_max)
    if as_json:
        write_json(story)
    else:
        Terminal(soft_wrap=True, highlight=False).print(
            shown(story, now=datetime.now(UTC), everything=everything)
        )
    if is_unasked(story):
        raise typer.Exit(1)


def story_at(
    order: str,
    url: str,
    others: Mapping[str, str],
    *,
    logs: Path | None,
    records_max: int,
) -> Story:
    """
    The order's story as the APIs at these addresses know it; an empty `url` is the local stack.
    `others`: the addresses by service, empty where none is given. Raises NoSuchOrder, and
    ConfigurationError if `order` is no order id.
    """
    order_id = _order_id(order)
    local = current()

    # What the local stack's processes wrote says nothing of another system's orders.
    return story_of(
        order_id,
        _apis(url, others),
        tool_settings(None if url else "kafka", waits=True),
        logs=logs or (None if url else local.logs),
        zipkin=None if url else zipkin_port(local),
        records_max=records_max,
    )


def is_unasked(story: Story) -> bool:
    """Whether somebody who knows about the order could not be asked."""
    return any(missing.unasked for missing in story.missing)


def story_of(
    order_id: str,
    apis: Apis,
    tools: ToolSettings,
    *,
    logs: Path | None,
    zipkin: int | None = None,
    records_max: int = RECORDS_MAX,
) -> Story:
    """
    The order's story, with whoever can be asked. `logs`: the directory of the processes' lines;
    `zipkin`: the port where one may run. Raises NoSuchOrder.
    """
    answers = ask_services(apis, order_id)
    missing = answers.missing
    records = _records(order_id, answers, tools, missing, records_max=records_max)

    has_lines = logs is not None and logs.is_dir()
    if logs is None or not has_lines:
        why = "this host has none of that system's: when each record was handled is left out"
        missing.append(Missing(source="lines", why=why))

    evidence = Evidence(
        order_id=order_id,
        order=answers.order,
        history=answers.history,
        payments=answers.payments,
        reservation=answers.reservation,
        shipment=answers.shipment,
        mails=answers.mails,
        records=records,
        lines=read_lines(logs, order_id, records) if logs is not None else [],
        dispositions=read_dispositions(tools.kafka, records),
        missing=missing,
        has_lines=has_lines,
    )
    return _told(evidence, tools, zipkin)


def _told(evidence: Evidence, tools: ToolSettings, zipkin: int | None) -> Story:
    now = datetime.now(UTC)
    story = tell(evidence, now=now)
    if places := _without_lines(story):
        # Only now is it known which groups have said nothing.
        progress = read_progress(tools.kafka, places)
        story = tell(msgspec.structs.replace(evidence, progress=progress), now=now)

    if zipkin is not None and story.trace_id is not None:
        story.zipkin = zipkin_link(zipkin, story.trace_id)
    return story


def _records(
    order_id: str,
    answers: Answers,
    tools: ToolSettings,
    missing: list[Missing],
    *,
    records_max: int,
) -> list[Seen]:
    created = moment((answers.order or {}).get("createdAt")) or _made_at(order_id)
    customer = customer_of(answers.order, ())
    try:
        with _watching(order_id) as watch:
            extracted = read_records(
                tools.kafka,
                order_id,
                customer,
                since=created - CLOCKS_APART,
                records_max=records_max,
                watch=watch,
            )
    except OrderflowError as error:
        why = f"{error}: what the services said to each other is left out"
        missing.append(Missing(source="Kafka", why=why, unasked=True))
        return []

    with closing(Registry(tools.registry)) as registry:
        records, away = decoded(extracted, Decoder(registry))
    missing += [*gaps(extracted), *away]
    if not records:
        why = "no topic has a record of this order: deleted by retention, or another cluster"
        missing.append(Missing(source="Kafka", why=why))
    return records


def _without_lines(story: Story) -> dict[str, set[Place]]:
    places: dict[str, set[Place]] = defaultdict(set)
    for node in story.nodes():
        if node.kind == "handling" and node.at is None and node.group is not None:
            places[node.group].add((str(node.topic), int(node.partition or 0)))
    return places


def zipkin_port(local: StackSettings) -> int:
    """Where `orderflow up --with zipkin` has it: moved as all ports of this stack are."""
    moved = local.ports.psp - type(local.ports)().psp
    port: int = getattr(local.ports, "zipkin", ZIPKIN_PORT + moved)
    return port


def zipkin_link(port: int, trace_id: str) -> str | None:
    """Where people find the trace, if Zipkin answers and has it."""
    base = f"http://{HOST}:{port}/zipkin"
    try:
        answer = httpx2.get(
            f"{base}/api/v2/trace/{trace_id}",
            timeout=ZIPKIN_TIMEOUT_S,
            trust_env=False,
            verify=False,
        )
    except httpx2.HTTPError:
        return None
    return f"{base}/traces/{trace_id}" if answer.status_code == HTTPStatus.OK else None


def _order_id(text: str) -> str:
    try:
        return order_id_of(text)
    except ValueError:
        raise ConfigurationError(
            f"{text!r} is no order id: it looks like 019ac5d2-6c4e-7b1a-9d3f-2f6d0c8e4a10"
        ) from None


def _made_at(order_id: str) -> datetime:
    """When the id was made, for it begins with the time (UUIDv7); of any other id the first day."""
    made = UUID(order_id)
    ms = made.int >> 80 if made.version == 7 else 0
    return max(
        datetime.fromtimestamp(ms / 1000, UTC), datetime.fromtimestamp(0, UTC) + CLOCKS_APART
    )


def _apis(url: str, others: Mapping[str, str]) -> dict[str, Api | None]:
    """Without addresses all are the local stack's; it knows nothing of another system's orders."""
    return {
        "order": Api("order", url),
        **{
            service: Api(service, given) if given or not url else None
            for service, given in others.items()
        },
    }


@contextmanager
def _watching(order_id: str) -> Iterator[Watch]:
    """Shows on a terminal how far the reading is."""
    console = Terminal(stderr=True, highlight=False)
    with console.status(f"looking for {order_id} …") as spinner:

        def watch(read: int, there: int) -> None:
            if read % WATCH_EVERY == 0:
                spinner.update(f"{read:,} of about {there:,} records looked at …")

        yield watch
