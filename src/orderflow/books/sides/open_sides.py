"""Every side of a system, opened for one audit after the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager

from orderflow.books.settings import BooksDatabases, BooksSection
from orderflow.books.sides.lake import LakeFiles
from orderflow.books.sides.provider_ledger import ProviderLedger
from orderflow.books.sides.services import (
    CustomerViews,
    FollowedViews,
    InboxView,
    LogEnd,
    NotificationViews,
    OrderViews,
    PaymentViews,
    ReservationViews,
    ShipmentViews,
    StockViews,
)
from orderflow.books.sides.side import Sides
from orderflow.books.sides.views import Views
from orderflow.books.sides.warehouse import WarehouseViews
from orderflow.contracts.roster import row
from orderflow.messaging.settings import DatabaseSettings

WITH_INBOX = ("order", "inventory", "notification", "fulfilment", "analytics")
WITH_RELAY = ("order", "inventory", "notification")
ADDING_UP: Mapping[str, str] = {}
"""Sums over many rows: the server chooses how to read them."""
SUMS_WITHIN_S = 60
"""All movements of a page of SKUs are read."""


@contextmanager
def open_sides(settings: BooksSection) -> Iterator[Sides]:
    """
    The sides that `settings` names; connections are opened at the first question, and closed with
    the block.

    Raises ConfigurationError that names the address that is missing.
    """
    with ExitStack() as opened:
        databases = {name: settings.database(name) for name in BooksDatabases.model_fields}
        views = {
            name: opened.enter_context(closing(Views(database)))
            for name, database in databases.items()
        }
        adding_up = Views(databases["inventory"], session=ADDING_UP, within_s=SUMS_WITHIN_S)
        stock = opened.enter_context(closing(adding_up))
        ledger = opened.enter_context(closing(ProviderLedger(settings.ledger())))
        warehouse = _warehouse(settings, opened)
        lake = (
            opened.enter_context(closing(LakeFiles(settings.lake_url)))
            if settings.lake_url
            else None
        )

        yield Sides(
            order=OrderViews(views["order"]),
            payment=PaymentViews(views["payment"]),
            ledger=ledger,
            reservation=ReservationViews(views["inventory"]),
            shipment=ShipmentViews(views["fulfilment"]),
            notification=NotificationViews(views["notification"]),
            followed=FollowedViews(views["analytics"]),
            stock=StockViews(stock),
            customers=CustomerViews(views["notification"]),
            inboxes={row(name).group: InboxView(views[name], listener=name) for name in WITH_INBOX},
            logs={name: LogEnd(views[name]) for name in WITH_RELAY},
            warehouse=warehouse,
            lake=lake,
        )


def _warehouse(settings: BooksSection, opened: ExitStack) -> WarehouseViews | None:
    if settings.warehouse is None:
        return None
    views = Views(DatabaseSettings(dsn=settings.warehouse))
    return WarehouseViews(opened.enter_context(closing(views)))
