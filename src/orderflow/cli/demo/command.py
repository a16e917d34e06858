"""
`orderflow demo`: five kinds of order over HTTP, and every record that they cause.

Each record is read by this process and by Kafka's own console consumer.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime
from threading import Event, Thread
from typing import Annotated, Any

import msgspec
import typer

from orderflow.books.audit import Books
from orderflow.books.report import Verdict
from orderflow.cli import books as books_command
from orderflow.cli import stack as stack_commands
from orderflow.cli.api_client import Api
from orderflow.cli.configuration import ToolSettings, tool_settings
from orderflow.cli.demo import view
from orderflow.cli.demo.arrivals import Arrivals, Commanded, Unknown, watching
from orderflow.cli.demo.copies import Copies
from orderflow.cli.demo.goods import with_goods
from orderflow.cli.demo.revenue import LOOK_THERE, Revenue
from orderflow.cli.demo.services import NEEDED, NEIGHBOURS, Services
from orderflow.cli.demo.stories import SLOW, STORIES, WRITERS, Story
from orderflow.cli.records import ReadableRecord
from orderflow.cli.terminal import Terminal
from orderflow.cli.trace.answers import ASKED
from orderflow.cli.trace.command import story_of, zipkin_port
from orderflow.cli.trace.view import shown as story_text
from orderflow.messaging.errors import OrderflowError
from orderflow.messaging.schemas.avro import Decoder
from orderflow.messaging.schemas.registry import Registry
from orderflow.stack.lifecycle import current
from orderflow.stack.settings import EXTRAS, StackSettings

ARRIVED_WITHIN_S = 120.0
WITNESSED_WITHIN_S = 60.0
ENDED_WITHIN_S = 30.0
LOOK_EVERY_S = 0.2
UNKNOWN = "UNKNOWN"


class Placed(msgspec.Struct, kw_only=True):
    """An order of the demo: its story, when it was answered, its records so far."""

    story: Story
    order: dict[str, Any]
    at: datetime
    seen: Counter[str] = msgspec.field(default_factory=Counter)
    ids: set[str] = msgspec.field(default_factory=set)

    @property
    def order_id(self) -> str:
        return str(self.order["orderId"])

    @property
    def complete(self) -> bool:
        return not self.story.lacks(self.seen)


def demo(
    extras: Annotated[
        list[str] | None,
        typer.Option(
            "--with",
            metavar="|".join(EXTRAS),
            help="As of `orderflow up`. connect: payments go on into a warehouse and into files.",
        ),
    ] = None,
) -> None:
    """
    Start the stack if it does not run, place five kinds of order, and show every record that they
    cause.

    One walks the whole way, by hand, to DELIVERED; one is cancelled after it was paid, and
    refunded; one is declined; one is out of stock; and of one nobody knows for a while whether it
    was paid. Each record is read by us and by Kafka's own console consumer, a Java program. At the
    end each order is compared with how it should end, with the payment provider's own ledger, with
    its shipment, with the mails that its customer got, and with its customer's revenue. The books
    compare what every service says of every order. With Connect, the warehouse's row of an order
    is shown, and one sum three times: ledger, warehouse, files. Exit 0 only if all of that is so.
    The stack stays up.

    \b
    Examples:
      orderflow demo
      orderflow demo --with connect
    """
    console = Terminal(highlight=False)
    stack_commands.up(brokers=current().brokers, extras=extras)
    settings, tools = current(), tool_settings()
    _refuse_partial(settings)

    arrivals, registry = Arrivals(), Registry(tools.registry)
    decoder = Decoder(registry)
    with closing(registry), closing(Services(settings)) as services, ExitStack() as running:
        customers = [story.customer for story in STORIES]
        revenue = Revenue(services, tools.kafka, decoder, customers)
        running.enter_context(watching(settings, tools.kafka, decoder, arrivals))
        orders = _place_orders(services, console)
        running.enter_context(_asking_payment(services, orders, arrivals))
        running.enter_context(_commanding(services, orders, arrivals))

        arrived = _show_arrivals(console, orders, arrivals)
        _show_witness(console, arrived, arrivals)
        _show_ends(console, services, orders)
        _show_followers(console, services, orders)
        _show_revenue(console, revenue, orders)
        _show_trace(console, settings, tools, orders)
        _show_copies(console, settings, orders)
        _show_books(console, tools)
        view.farewell(console, services.order_url)


def _show_copies(console: Terminal, settings: StackSettings, orders: dict[str, Placed]) -> None:
    """Where payments go on to, if they do. Raises OrderflowError if a copy differs."""
    if not {"connect", "lake"} <= set(settings.services):
        return
    copies = Copies(settings)
    paid = next(placed for placed in orders.values() if placed.story.captures)

    with console.status("waiting for the warehouse and the files"):
        sums = copies.sums()
    view.heading(console, "where payments go on to: a warehouse, and files")
    view.warehouse_rows(console, paid.story, copies.row_of(paid.order_id))
    view.sums(console, sums)


def _show_books(console: Terminal, tools: ToolSettings) -> None:
    """What every side says of all orders there are, this demo's and earlier ones'."""
    view.heading(console, "the books: does every side say the same?")
    section = books_command.books_section()
    with closing(Books(section, tools.kafka, tools.registry)) as books:
        report = books.run(full=True)
    books_command.show(console, report, as_json=False)
    if report.verdict is Verdict.DIFFERENT:
        raise OrderflowError("the books differ: see `orderflow books`, and docs/runbooks")


def _refuse_partial(settings: StackSettings) -> None:
    missing = [name for name in NEEDED if name not in settings.services and name not in NEIGHBOURS]
    if missing:
        raise OrderflowError(
            f"the demo needs {', '.join(missing)}, which this stack does not run: "
            "unset ORDERFLOW_STACK__SERVICES, `orderflow down`, and try again"
        )


def _place_orders(services: Services, console: Terminal) -> dict[str, Placed]:
    """Place an order for each story; returns them by order id."""
    view.heading(console, "five kinds of order, over HTTP")
    orders: dict[str, Placed] = {}

    for story in STORIES:
        wanted = with_goods(services, story)
        order = services.place(wanted.path, wanted.request)
        placed = Placed(story=wanted, order=order, at=datetime.now(UTC))
        orders[placed.order_id] = placed
        view.placed(console, wanted, order)
    return orders


def _show_arrivals(
    console: Terminal, orders: dict[str, Placed], arrivals: Arrivals
) -> list[ReadableRecord]:
    """Every record as it comes, until each order has all of its records."""
    view.heading(console, "what comes of it, record by record, and how long after the 201")
    until = time.monotonic() + ARRIVED_WITHIN_S
    shown: list[ReadableRecord] = []

    with console.status("") as spinner:
        while waiting := [placed for placed in orders.values() if not placed.complete]:
            if time.monotonic() > until:
                raise OrderflowError(_missing(orders))
            spinner.update(view.waiting_for(placed.story.customer for placed in waiting))
            for arrival in arrivals.take():
                placed = orders.get(arrival.key or "")
                if placed is not None:
                    _show_arrival(console, placed, arrival)
                    shown += [arrival] if isinstance(arrival, ReadableRecord) else []
    return shown


def _show_arrival(
    console: Terminal, placed: Placed, arrival: ReadableRecord | Unknown | Commanded
) -> None:
    late_s = max(0.0, (arrival.timestamp - placed.at).total_seconds())
    if isinstance(arrival, Unknown):
        view.unknown(console, placed.story, late_s)
    elif isinstance(arrival, Commanded):
        view.commanded(console, placed.story, arrival.step, arrival.answered, arrival.order, late_s)
    else:
        view.record(console, placed.story, arrival, late_s)
        note(placed, arrival)


def note(placed: Placed, arrival: ReadableRecord) -> None:
    """
    Note that the record has come; a repeat of one changes nothing.

    Raises OrderflowError, in the record's own words, if it has no place in the order's story.
    """
    if arrival.id in placed.ids:
        return
    placed.ids.add(str(arrival.id))
    placed.seen[str(arrival.type)] += 1

    if placed.story.contradicts(placed.seen, str(arrival.type)):
        story, name = placed.story, str(arrival.type).rpartition(".")[2]
        raise OrderflowError(
            f"{story.customer}'s order was to be {story.name!r}, and "
            f"{arrival.topic}-{arrival.partition}@{arrival.offset} says otherwise: {name}, "
            f"{view.in_words(arrival)}; see `orderflow trace {placed.order_id}`"
        )


def _show_witness(console: Terminal, shown: list[ReadableRecord], arrivals: Arrivals) -> None:
    """Wait until Kafka's own consumer has seen each record too; show one of them in full."""
    until = time.monotonic() + WITNESSED_WITHIN_S
    wanted = {str(record.id) for record in shown}
    with console.status(
        "waiting for Kafka's console consumer, a Java program, to see each of them too"
    ):
        while (missing := len(wanted - arrivals.witnessed.keys())) and time.monotonic() < until:
            arrivals.take()

    if missing:
        raise OrderflowError(
            f"Kafka's own console consumer did not see {missing} of {len(wanted)} records"
        )
    sample = shown[-1]
    view.in_full(console, len(wanted), sample, arrivals.witnessed[str(sample.id)])


def _missing(orders: dict[str, Placed]) -> str:
    """Which records did not come, and where to look."""
    lacks = {
        placed.story.customer: placed.story.lacks(placed.seen)
        for placed in orders.values()
        if not placed.complete
    }
    names = "; ".join(
        f"{customer}'s order lacks {', '.join(name.rpartition('.')[2] for name in lack)}"
        for customer, lack in lacks.items()
    )
    logs = ", ".join(f"`orderflow logs {name}`" for name in dict.fromkeys(WRITERS.values()))
    return f"after {ARRIVED_WITHIN_S:.0f} s {names}: see `orderflow status`, then {logs}"


def _show_ends(console: Terminal, services: Services, orders: dict[str, Placed]) -> None:
    """Each order at its end, beside the provider's ledger. Raises OrderflowError if one differs."""
    until = time.monotonic() + ENDED_WITHIN_S
    rows, wrong = [], []
    for placed in orders.values():
        story = placed.story
        order = _ended(services, placed, until=until)
        ledger = services.ledger(str(order["payment"]["paymentId"]))

        amount = order["amountMinor"]
        fits = (
            ledger.captures == (amount,) * story.captures
            and ledger.refunds == (amount,) * story.refunds
        )
        if _state(order) != story.ends or not fits:
            wrong.append(story.customer)
        rows.append((story, order, ledger))

    view.summary(console, rows)
    if wrong:
        raise OrderflowError(
            f"not as it should be: the order of {', '.join(wrong)}; see `orderflow status`"
        )


def _show_followers(console: Terminal, services: Services, orders: dict[str, Placed]) -> None:
    """The orders' mails and shipments, and the funnel. Raises OrderflowError if one differs."""
    until = time.monotonic() + ENDED_WITHIN_S
    patience = Event()
    while True:
        rows = [
            (placed.story, services.mails(placed.order_id), services.shipment(placed.order_id))
            for placed in orders.values()
        ]
        late = [
            story.customer
            for story, mails, shipment in rows
            if (len(mails), shipment) != (story.mails, story.shipment)
        ]
        if not late or time.monotonic() > until:
            break
        patience.wait(LOOK_EVERY_S)

    view.followers(console, rows)
    view.funnel(console, services.funnel())
    if late:
        raise OrderflowError(
            f"mails or shipment of {', '.join(late)} are not as they should be: "
            "see `orderflow status`, then `orderflow logs notification`, "
            "`orderflow logs fulfilment`"
        )


def _show_revenue(console: Terminal, revenue: Revenue, orders: dict[str, Placed]) -> None:
    """The customers' revenue, before and after. Raises OrderflowError if one differs."""
    rows = revenue.moved((placed.story, placed.order) for placed in orders.values())
    view.revenue(console, rows)
    if wrong := [row.story.customer for row in rows if not row.fits]:
        raise OrderflowError(
            f"the revenue of {', '.join(wrong)} is not as it should be: {LOOK_THERE}"
        )


def _show_trace(
    console: Terminal, settings: StackSettings, tools: ToolSettings, orders: dict[str, Placed]
) -> None:
    """What `orderflow trace` says of the order that has the shortest story."""
    placed = min(orders.values(), key=lambda placed: placed.story.records.total())
    story = story_of(
        placed.order_id,
        {service: Api(service) for service in ASKED},
        tools,
        logs=settings.logs,
        zipkin=zipkin_port(settings),
    )
    view.traced(console, placed.story, placed.order_id, story_text(story, now=datetime.now(UTC)))


def _ended(services: Services, placed: Placed, *, until: float) -> dict[str, Any]:
    """The order once it is as its story ends, or as it is when time is up."""
    patience = Event()
    while True:
        order = services.order(placed.order_id)
        if _state(order) == placed.story.ends or time.monotonic() > until:
            return order
        patience.wait(LOOK_EVERY_S)


def _state(order: dict[str, Any]) -> tuple[str, str, str]:
    return order["status"], order["payment"]["state"], order["stock"]


@contextmanager
def _asking_payment(
    services: Services, orders: dict[str, Placed], arrivals: Arrivals
) -> Iterator[None]:
    """Ask payment for the slow order, on a thread of its own, until the payment is UNKNOWN."""
    ended = Event()
    slow = next(
        placed.order_id for placed in orders.values() if placed.story.payment_method == SLOW
    )

    def ask() -> None:
        while not ended.wait(LOOK_EVERY_S):
            try:
                state = services.payment_state(slow)
            except OrderflowError:
                continue
            if state == UNKNOWN:
                arrivals.put(Unknown(slow, datetime.now(UTC)))
                return

    with _in_threads([Thread(target=ask, daemon=True)], ended):
        yield


@contextmanager
def _commanding(
    services: Services, orders: dict[str, Placed], arrivals: Arrivals
) -> Iterator[None]:
    """Give the commands of each story, on a thread for each, as soon as its order allows it."""
    ended = Event()

    def command(placed: Placed) -> None:
        order_id = placed.order_id
        try:
            for step in placed.story.commands:
                while step not in services.order(order_id)["allowedActions"]:
                    if ended.wait(LOOK_EVERY_S):
                        return

                status, order = services.command(order_id, step, placed.story.customer)
                now = datetime.now(UTC)
                arrivals.put(
                    Commanded(key=order_id, timestamp=now, step=step, answered=status, order=order)
                )
        except OrderflowError as error:
            arrivals.put(error)

    threads = [Thread(target=command, args=(placed,), daemon=True) for placed in orders.values()]
    with _in_threads(threads, ended):
        yield


@contextmanager
def _in_threads(threads: list[Thread], ended: Event) -> Iterator[None]:
    """Run the threads for as long as the block lasts; `ended` is set for them at its end."""
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join()
