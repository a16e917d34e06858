"""
`python -m orderflow.bench.flow.naive.api PORT DSN`: BEGIN, two inserts, COMMIT for each request.

The HTTP stack is the one of `bench post`'s baseline.
"""

from __future__ import annotations

import sys

import msgspec
import uuid_utils.compat as uuids
from starlette.requests import Request
from starlette.responses import Response

from orderflow.bench.flow.naive.parts import Fact, Line
from orderflow.bench.naive_api import serve_orders
from orderflow.stack.demo_data import PRODUCTS

PRICES = {product.sku: product.prices["EUR"] for product in PRODUCTS}
TABLE = """
CREATE TABLE orders (
    order_id uuid PRIMARY KEY, customer_id text NOT NULL, status text NOT NULL,
    lines jsonb NOT NULL, amount_minor bigint NOT NULL, currency text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now());
"""
INSERT_ORDER = """
INSERT INTO orders (order_id, customer_id, status, lines, amount_minor, currency)
VALUES ($1, $2, 'CREATED', $3, $4, $5)
"""
INSERT_OUTBOX = """
INSERT INTO outbox (id, aggregatetype, aggregateid, type, payload, ce_source, ce_time, ce_subject,
                    ce_correlationid)
VALUES ($1, 'naive-orders', $2, 'OrderCreated', $3, 'naive', now()::text, $2, $2)
"""


class OrderRequest(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    customer_id: str
    lines: list[Line]


_decode = msgspec.json.Decoder(OrderRequest).decode


async def place_order(request: Request) -> Response:
    order = _decode(await request.body())
    order_id = uuids.uuid7()
    fact = Fact(
        order_id=str(order_id),
        customer_id=order.customer_id,
        amount_minor=sum(PRICES[line.sku] * line.quantity for line in order.lines),
        currency="EUR",
        lines=order.lines,
    )

    body, lines = msgspec.json.encode(fact), msgspec.json.encode(order.lines).decode()
    row = (order_id, fact.customer_id, lines, fact.amount_minor, fact.currency)
    async with request.app.state.pool.acquire() as connection, connection.transaction():
        await connection.execute(INSERT_ORDER, *row)
        await connection.execute(INSERT_OUTBOX, uuids.uuid7(), fact.order_id, body)
    return Response(body, 201, media_type="application/json")


if __name__ == "__main__":
    serve_orders(place_order, port=int(sys.argv[1]), dsn=sys.argv[2])
