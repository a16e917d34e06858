"""The HTTP side of the naive baselines: Starlette on uvicorn, and a pool of asyncpg connections."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import asyncpg
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

POOL_SIZE = 32


def serve_orders(
    place_order: Callable[[Request], Awaitable[Response]],
    *,
    port: int,
    dsn: str,
    tables: str = "",
) -> None:
    """
    Serve `POST /orders` on this port until SIGTERM; `request.app.state.pool` has the connections.

    `tables`: SQL that is run before the first request.
    """

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with asyncpg.create_pool(dsn, min_size=POOL_SIZE, max_size=POOL_SIZE) as pool:
            if tables:
                await pool.execute(tables)
            app.state.pool = pool
            yield

    uvicorn.run(
        Starlette(routes=[Route("/orders", place_order, methods=["POST"])], lifespan=lifespan),
        host="127.0.0.1",
        port=port,
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
        backlog=2048,
    )
