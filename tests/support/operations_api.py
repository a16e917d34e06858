"""The operations API in this process, in front of what a test gives it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import httpx2
import msgspec

from orderflow.messaging.kafka.groups import Groups, Membership
from orderflow.messaging.kafka.lag import Lag
from orderflow.messaging.kafka.survey import GroupLag, Log, Survey, Surveyor
from orderflow.services.operations.api import Sources, build_api
from orderflow.services.operations.orders import OrderApi
from orderflow.services.operations.questions import Questions
from orderflow.services.operations.surveys import Surveys

AT = datetime(2026, 1, 31, 9, 5, tzinfo=UTC)

Orders = Callable[[httpx2.Request], httpx2.Response]


def nobody(_request: httpx2.Request) -> httpx2.Response:
    raise httpx2.ConnectError("nobody is there, at 10.0.0.7:8080")


class Cluster:
    """Surveyor and groups in one. Each survey is the next one of `surveys`, the last for ever."""

    def __init__(self, *surveys: Survey | Exception) -> None:
        self.surveys = list(surveys)
        self.looks = 0
        self.known: dict[str, Membership] = {}

    def survey(self) -> Survey:
        self.looks += 1
        seen = self.surveys.pop(0) if len(self.surveys) > 1 else self.surveys[0]
        if isinstance(seen, Exception):
            raise seen
        return seen

    def memberships(self) -> dict[str, Membership]:
        return self.known


def survey(records: Mapping[str, int], *, after_s: float = 0, **more: Any) -> Survey:
    """One topic of one partition; `records`: the lag of each group, a second old for each."""
    lags = [
        GroupLag(
            lag=Lag(group=group, topic="orders", partition=0, records=lag, committed=10),
            seconds=float(lag),
        )
        for group, lag in records.items()
    ]
    return Survey(
        at=AT + timedelta(seconds=after_s),
        brokers=1,
        logs={("orders", 0): Log(first=0, end=90, stable_end=90, under_replicated=False)},
        lags=lags,
        **{"open_transactions": {}, **more},
    )


class OperationsApi:
    """The application, asked as a client would; all requests of `at_once` at the same time."""

    def __init__(self, sources: Sources, reasons: Sequence[str] = ()) -> None:
        self.application = build_api(sources, lambda: [*reasons])

    def ask(
        self, method: str, path: str, *, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> httpx2.Response:
        content = None if body is None else msgspec.json.encode(body)
        sent = {"content-type": "application/json", **(headers or {})}
        [answer] = self.at_once(
            lambda client: [client.request(method, path, content=content, headers=sent)]
        )
        return answer

    def get(self, path: str) -> httpx2.Response:
        return self.ask("GET", path)

    def at_once(
        self, requests: Callable[[httpx2.AsyncClient], Sequence[Any]]
    ) -> list[httpx2.Response]:
        async def answers() -> list[httpx2.Response]:
            transport = httpx2.ASGITransport(app=self.application)
            async with httpx2.AsyncClient(transport=transport, base_url="http://ops") as client:
                return list(await asyncio.gather(*requests(client)))

        return asyncio.run(answers())


@contextmanager
def operations_api(
    cluster: Cluster | None = None, *, orders: Orders = nobody, **more: Any
) -> Iterator[OperationsApi]:
    """The API with threads of its own; `more`: other sources."""
    seen = cluster or Cluster(survey({}))
    with ExitStack() as opened:
        brokers = questions(opened, "the cluster", threads=1)
        sources: dict[str, Any] = {
            "surveys": Surveys(lambda: cast("Surveyor", seen), lambda: cast("Groups", seen)),
            "orders": OrderApi("http://order", transport=httpx2.MockTransport(orders)),
            "brokers": brokers,
            "others": questions(opened, "orders", threads=2),
        }
        yield OperationsApi(Sources(**{**sources, **more}))


def questions(opened: ExitStack, name: str, *, threads: int) -> Questions:
    made = Questions(name, threads=threads, waiting_max=8)
    opened.callback(made.close)
    made.start()
    return made
