"""What a client is told of a failure, and what never."""

from __future__ import annotations

import json

import pytest
from starlette.exceptions import HTTPException

from orderflow.contracts.events import OrderLine
from orderflow.contracts.ids import Sku
from orderflow.messaging.errors import Transient, Unavailable
from orderflow.messaging.http import problems as kit
from orderflow.messaging.postgres.group_commit import Expired, QueueFull
from orderflow.services.order.http import problems
from orderflow.services.order.model import AmountTooLarge, NoPrice, RepeatedSku, UnknownSku
from orderflow.services.order.pricing import PaymentMethodMissing, PriceChanged

LINE = OrderLine(sku=Sku("LAMP"), quantity=2, unit_price_minor=5_590)
CHANGED = PriceChanged("A", lines=(LINE,), amount_minor=11_180, currency="EUR")
SECRET = "host=db.internal password=hunter2"  # a driver's message may hold such


def told(error: BaseException) -> tuple[int, dict[str, object], dict[bytes, bytes]]:
    status, body, headers = kit.document(problems.from_error(error))
    return status, json.loads(body), dict(headers)


@pytest.mark.parametrize(
    ("error", "status", "slug"),
    [
        (UnknownSku("A"), 422, "unknown-sku"),
        (NoPrice("A"), 422, "no-price"),
        (RepeatedSku("A"), 422, "repeated-sku"),
        (AmountTooLarge("A"), 422, "amount-too-large"),
        (PaymentMethodMissing("A"), 422, "payment-method-missing"),
        (CHANGED, 409, "price-changed"),
        (kit.malformed("A"), 400, "malformed-json"),
        (kit.invalid("A"), 422, "invalid-request"),
        (kit.too_large(1), 413, "body-too-large"),
        (kit.unsupported_media_type(), 415, "unsupported-media-type"),
        (problems.no_such_order(), 404, "order-not-found"),
        (problems.key_malformed(), 400, "idempotency-key-malformed"),
        (problems.key_taken(), 422, "idempotency-key-reused"),
        (HTTPException(404), 404, "not-found"),
        (HTTPException(405), 405, "method-not-allowed"),
        (QueueFull("full"), 503, "unavailable"),
        (Expired("late"), 503, "unavailable"),
        (Unavailable("away", resource="database"), 503, "unavailable"),
        (Transient("undone", resource="database"), 503, "unavailable"),
        (RuntimeError("what?"), 500, "internal-error"),
    ],
)
def test_each_failure_has_its_status_and_a_type_for_good(
    error: BaseException, status: int, slug: str
) -> None:
    answered, body, headers = told(error)
    assert (answered, body["status"], body["type"]) == (status, status, f"/problems/{slug}")
    assert body["title"]
    assert headers[b"content-type"] == b"application/problem+json"
    assert (b"retry-after" in headers) == (status == 503)


@pytest.mark.parametrize(
    "error", [RuntimeError(SECRET), Unavailable(SECRET, resource="database"), QueueFull(SECRET)]
)
def test_nothing_of_our_insides_is_told(error: BaseException) -> None:
    _, body, headers = told(error)
    assert "hunter2" not in json.dumps(body) + repr(headers)


def test_a_changed_price_comes_with_what_the_order_would_cost_now() -> None:
    _, document, _ = told(CHANGED)
    assert (document["currency"], document["amountMinor"], document["lines"]) == (
        "EUR",
        11_180,
        [{"sku": "LAMP", "quantity": 2, "unitPriceMinor": 5_590}],
    )
