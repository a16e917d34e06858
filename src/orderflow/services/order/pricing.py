"""What the client expects of an order's price, and what its request may not leave out. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from orderflow.contracts.events import OrderLine
from orderflow.services.order.model import Order, RequestedLine, RuleBroken


class PaymentMethodMissing(RuleBroken):
    slug = "payment-method-missing"
    title = "The request names no payment method, and the service has no default"


class PriceChanged(RuleBroken):
    """The client has seen other prices. `lines` and `amount_minor` are what it would pay now."""

    slug = "price-changed"
    title = "The order costs something else now"

    def __init__(
        self, why: str, *, lines: tuple[OrderLine, ...], amount_minor: int, currency: str
    ) -> None:
        super().__init__(why)
        self.lines = lines
        self.amount_minor = amount_minor
        self.currency = currency


def demand_expected(
    order: Order, requested: Sequence[RequestedLine], *, expected_amount_minor: int | None
) -> None:
    """Raise PriceChanged if a price or the total is not what the client says it has seen."""
    expected = {line.sku: line.expected_unit_price_minor for line in requested}
    differences = [
        f"{line.sku} costs {line.unit_price_minor}, not {expected[line.sku]}"
        for line in order.lines
        if expected[line.sku] not in (None, line.unit_price_minor)
    ]
    if expected_amount_minor not in (None, order.amount_minor):
        differences.append(f"the total is {order.amount_minor}, not {expected_amount_minor}")

    if differences:
        raise PriceChanged(
            f"in minor units of {order.currency}: {'; '.join(differences)}",
            lines=order.lines,
            amount_minor=order.amount_minor,
            currency=order.currency,
        )
