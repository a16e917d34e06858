"""The request that sets a product."""

from __future__ import annotations

import msgspec
import pytest

from orderflow.services.order.http.products import ProductRequest


def test_a_price_is_in_a_currency_that_there_is() -> None:
    wanted = {"name": "Keyboard", "prices": {"EUR": 1000, "KWD": 3000}}
    assert msgspec.convert(wanted, ProductRequest).prices == wanted["prices"]
    for code in ("ZZZ", "EUX", "XXX"):
        prices = {"EUR": 1000, code: 1000}
        with pytest.raises(msgspec.ValidationError, match=f"{code} is no currency of ISO 4217"):
            msgspec.convert({"name": "Keyboard", "prices": prices}, ProductRequest)
