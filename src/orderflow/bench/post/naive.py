"""
The baseline of `bench post`: what one writes first. `python -m orderflow.bench.post.naive PORT DSN`

The same HTTP stack (Starlette, uvicorn, uvloop, httptools, msgspec), asyncpg with a pool of 32, and
for each request a transaction of its own: BEGIN, INSERT the order, INSERT the outbox row, COMMIT.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from uuid import UUID

import msgspec
import uuid_utils.compat as uuids
from starlette.requests import Request
from starlette.responses import Response

from orderflow.bench.naive_api import serve_orders

PRICES = {"KEYBOARD-01": 8990, "MOUSE-01": 3490}

TABLES = """
CREATE TABLE IF NOT EXISTS orders (
    order_id uuid PRIMARY KEY, customer_id text NOT NULL, status text NOT NULL,
    lines jsonb NOT NULL, amount_minor bigint NOT NULL, currency text NOT NULL,
    created_at timestamptz NOT NULL);
CREATE TABLE IF NOT EXISTS outbox (
    id uuid PRIMARY KEY, aggregatetype text NOT NULL, aggregateid text NOT NULL, type text NOT NULL,
    payload bytea NOT NULL, created_at timestamptz NOT NULL DEFAULT now());
CREATE OR REPLACE VIEW books_order AS SELECT order_id FROM orders;
"""
"""Its own, and of the view that the order service publishes what the orders are counted by."""
INSERT_ORDER = "INSERT INTO orders VALUES ($1, $2, 'CREATED', $3, $4, 'EUR', $5)"
INSERT_OUTBOX = "INSERT INTO outbox VALUES ($1, 'orders', $2, 'OrderCreated', $3)"


class Line(msgspec.Struct, forbid_unknown_fields=True):
    sku: str
    quantity: int


class OrderRequest(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    customer_id: str
    lines: list[Line]


class Answer(msgspec.Struct, rename="camel"):
    order_id: UUID
    customer_id: str
    status: str
    lines: list[Line]
    amount_minor: int
    created_at: datetime


_decode = msgspec.json.Decoder(OrderRequest).decode


async def place_order(request: Request) -> Response:
    order = _decode(await request.body())
    answer = Answer(
        order_id=uuids.uuid7(),
        customer_id=order.customer_id,
        status="CREATED",
        lines=order.lines,
        amount_minor=sum(PRICES[line.sku] * line.quantity for line in order.lines),
        created_at=datetime.now(UTC),
    )

    body, lines = msgspec.json.encode(answer), msgspec.json.encode(order.lines).decode()
    async with request.app.state.pool.acquire() as connection, connection.transaction():
        await connection.execute(
            INSERT_ORDER,
            answer.order_id,
            answer.customer_id,
            lines,
            answer.amount_minor,
            answer.created_at,
        )
        await connection.execute(INSERT_OUTBOX, uuids.uuid7(), str(answer.order_id), body)
    return Response(
        body, 201, media_type="application/json", headers={"location": f"/orders/{answer.order_id}"}
    )


if __name__ == "__main__":
    serve_orders(place_order, port=int(sys.argv[1]), dsn=sys.argv[2], tables=TABLES)
