"""`orderflow demo`: five kinds of order over HTTP, and every record they cause, seen by us and by Kafka's consumer."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime
from threading import Event, Thread
from typing import Any

import msgspec
from rich.console import Console

from orderflow.cli import stack as stack_commands
from orderflow.cli.configuration import tool_settings
from orderflow.cli.demo import view
from orderflow.cli.demo.arrivals import Arrivals, Commanded, Unknown, watching
from orderflow.cli.demo.services import NEEDED, NEIGHBOURS, Services
from orderflow.cli.demo.stories import SLOW, SOLD_OUT, STORIES, TOLD_BY, Story
from orderflow.cli.records import ReadableRecord
from orderflow.messaging.errors import OrderflowError
from orderflow.messaging.schemas.avro import Decoder
from orderflow.messaging.schemas.registry import Registry
from orderflow.stack.lifecycle import current
from orderflow.stack.settings import StackSettings

ARRIVED_WITHIN_S = 120.0
WITNESSED_WITHIN_S = 60.0
ENDED_WITHIN_S = 30.0
LOOK_EVERY_S = 0.2
HELD_BACK_S = 0.5
UNKNOWN = "UNKNOWN"


class Placed(msgspec.Struct, kw_only=True):
    """One of the demo's orders: its story, when it was answered, what came of it so far."""

    story: Story
    order: dict[str, Any]
    at: datetime
    seen: Counter[str] = msgspec.field(default_factory=Counter)

    @property
    def order_id(self) -> str:
        return str(self.order["orderId"])

    @property
    def complete(self) -> bool:
        return not self.story.lacks(self.seen)


def demo() -> None:
    """
    Start the stack if it does not run, place five kinds of order, and show every record that they cause.

    One walks the whole way, by hand, to DELIVERED; one is cancelled after it was paid, and refunded; one is declined;
    one is out of stock; and of one nobody knows for a while whether it was paid. Each record is read by us and by
    Kafka's own console consumer, a Java program. At the end each order is compared with how it should end, with the
    payment provider's own ledger, with its shipment, and with the mails that its customer got. Exit 0 only if all of
    that is so. The stack stays up.

    \b
    Example:
      orderflow demo
    """
    console = Console(highlight=False)
    stack_commands.up(brokers=current().brokers)
    settings, tools = current(), tool_settings()
    _refuse_partial(settings)
    arrivals = Arrivals()
    with closing(Services(settings)) as services, ExitStack() as running:
        running.enter_context(
            watching(settings, tools.kafka, Decoder(Registry(tools.registry)), arrivals)
        )
        orders = _place_orders(services, console)
        running.enter_context(_asking_payment(services, orders, arrivals))
        running.enter_context(_commanding(services, orders, arrivals))
        shown = _show_arrivals(console, orders, arrivals)
        _show_witness(console, shown, arrivals)
        _show_ends(console, services, orders)
        _show_followers(console, services, orders)
        view.farewell(console, services.order_url)


def _refuse_partial(settings: StackSettings) -> None:
    missing = [name for name in NEEDED if name not in settings.services and name not in NEIGHBOURS]
    if missing:
        raise OrderflowError(
            f"the demo needs {', '.join(missing)}, which this stack does not run: unset ORDERFLOW_STACK__SERVICES, "
            "`orderflow down`, and try again"
        )


def _place_orders(services: Services, console: Console) -> dict[str, Placed]:
    view.heading(console, "five kinds of order, over HTTP")
    placed: dict[str, Placed] = {}
    wanted = services.more_than_there_is()
    for story in STORIES:
        quantity = wanted if story.sku == SOLD_OUT else story.quantity
        told = msgspec.structs.replace(story, quantity=quantity)
        order = services.place(told.path, told.request)
        one = Placed(story=told, order=order, at=datetime.now(UTC))
        placed[one.order_id] = one
        view.placed(console, told, order)
    return placed


def _show_arrivals(
    console: Console, orders: dict[str, Placed], arrivals: Arrivals
) -> list[ReadableRecord]:
    """Every record as it comes, until each order has all of its records."""
    view.heading(console, "what comes of it, record by record")
    until = time.monotonic() + ARRIVED_WITHIN_S
    shown: list[ReadableRecord] = []
    with console.status("") as spinner:
        while not all(one.complete for one in orders.values()):
            if time.monotonic() > until:
                raise OrderflowError(_missing(orders))
            spinner.update(
                view.waiting_for(one.story.customer for one in orders.values() if not one.complete)
            )
            for seen in arrivals.take():
                one = orders.get(seen.key or "")
                if one is None:
                    continue
                late_s = max(0.0, (seen.timestamp - one.at).total_seconds())
                if isinstance(seen, Unknown):
                    view.unknown(console, one.story, late_s)
                elif isinstance(seen, Commanded):
                    view.commanded(console, one.story, seen.step, seen.answered, seen.order, late_s)
                else:
                    one.seen[str(seen.type)] += 1
                    view.record(console, one.story, seen, late_s)
                    shown.append(seen)
    return shown


def _show_witness(console: Console, shown: list[ReadableRecord], arrivals: Arrivals) -> None:
    """Wait until Kafka's own consumer has seen each of these too; one of them in full."""
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
        one.story.customer: one.story.lacks(one.seen) for one in orders.values() if not one.complete
    }
    names = "; ".join(
        f"{customer}'s order lacks {', '.join(name.rpartition('.')[2] for name in lack)}"
        for customer, lack in lacks.items()
    )
    logs = ", ".join(f"`orderflow logs {name}`" for name in dict.fromkeys(TOLD_BY.values()))
    return f"after {ARRIVED_WITHIN_S:.0f} s {names}: see `orderflow status`, then {logs}"


def _show_ends(console: Console, services: Services, orders: dict[str, Placed]) -> None:
    """Each order at its end, beside the provider's ledger. Raises OrderflowError if one ended otherwise."""
    until = time.monotonic() + ENDED_WITHIN_S
    rows, wrong = [], []
    for one in orders.values():
        order = _ended(services, one, until=until)
        ledger = services.ledger(str(order["payment"]["paymentId"]))
        amount = order["amountMinor"]
        fits = (
            ledger.captures == (amount,) * one.story.captures
            and ledger.refunds == (amount,) * one.story.refunds
        )
        if _state(order) != one.story.ends or not fits:
            wrong.append(one.story.customer)
        rows.append((one.story, order, ledger))
    view.summary(console, rows)
    if wrong:
        raise OrderflowError(
            f"not as it should be: the order of {', '.join(wrong)}; see `orderflow status`"
        )


def _show_followers(console: Console, services: Services, orders: dict[str, Placed]) -> None:
    """What came of the orders at those who only follow: mails, shipments, the funnel."""
    until = time.monotonic() + ENDED_WITHIN_S
    patience = Event()
    while True:
        told = {
            one.story.customer: (services.mails(one.order_id), services.shipment(one.order_id))
            for one in orders.values()
        }
        wanted = {
            one.story.customer: (one.story.mails, one.story.shipment) for one in orders.values()
        }
        fits = {
            customer: (len(mails), shipment) for customer, (mails, shipment) in told.items()
        } == wanted
        if fits or time.monotonic() > until:
            break
        patience.wait(LOOK_EVERY_S)
    view.followers(console, [(one.story, *told[one.story.customer]) for one in orders.values()])
    view.funnel(console, services.funnel())
    if not fits:
        late = [
            name
            for name, (mails, shipment) in told.items()
            if (len(mails), shipment) != wanted[name]
        ]
        raise OrderflowError(
            f"mails or shipment of {', '.join(late)} are not as they should be: see `orderflow status`, then "
            "`orderflow logs notification`, `orderflow logs fulfilment`"
        )


def _ended(services: Services, one: Placed, *, until: float) -> dict[str, Any]:
    """The order once it is as its story ends, or as it is when time is up."""
    patience = Event()
    while True:
        order = services.order(one.order_id)
        if _state(order) == one.story.ends or time.monotonic() > until:
            return order
        patience.wait(LOOK_EVERY_S)


def _state(order: dict[str, Any]) -> tuple[str, str, str]:
    return order["status"], order["payment"]["state"], order["stock"]


@contextmanager
def _asking_payment(
    services: Services, orders: dict[str, Placed], arrivals: Arrivals
) -> Iterator[None]:
    """Beside the records: say it when payment does not know whether an order was paid."""
    ended = Event()
    slow = next(one.order_id for one in orders.values() if one.story.payment_method == SLOW)

    def ask() -> None:
        while not ended.wait(LOOK_EVERY_S):
            try:
                known = services.payment_state(slow)
            except OrderflowError:
                continue
            if known == UNKNOWN:
                arrivals.put(Unknown(slow, datetime.now(UTC)))
                return

    asking = Thread(target=ask, daemon=True)
    asking.start()
    try:
        yield
    finally:
        ended.set()
        asking.join()


@contextmanager
def _commanding(
    services: Services, orders: dict[str, Placed], arrivals: Arrivals
) -> Iterator[None]:
    """Beside the records: give the commands of each story, each as soon as its order allows it."""
    ended = Event()

    def command(one: Placed) -> None:
        try:
            for step in one.story.commands:
                while step not in services.order(one.order_id)["allowedActions"]:
                    if ended.wait(LOOK_EVERY_S):
                        return
                answered, order = services.command(one.order_id, step, one.story.customer)
                now = datetime.now(UTC)
                arrivals.put(
                    Commanded(
                        key=one.order_id, timestamp=now, step=step, answered=answered, order=order
                    )
                )
        except OrderflowError as error:
            arrivals.put(error)

    commanding = [Thread(target=command, args=(one,), daemon=True) for one in orders.values()]
    for thread in commanding:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in commanding:
            thread.join()
