"""The operations API in this process, in front of what a test gives it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import httpx2
import msgspec
from msgspec.structs import replace

from orderflow.messaging.dead_letters.desk import Desk, LetterGone
from orderflow.messaging.dead_letters.dispositions import Disposition, DispositionKind
from orderflow.messaging.dead_letters.evidence import LetterEvidence
from orderflow.messaging.dead_letters.letter_place import LetterId
from orderflow.messaging.dead_letters.letters import (
    ANY,
    REPLAYS_MAX,
    Letter,
    LetterBalance,
    LetterFilter,
)
from orderflow.messaging.dead_letters.replay_plan import (
    DeskReport,
    Held,
    PlannedLetter,
    ReplayPlan,
)
from orderflow.messaging.kafka.groups import Groups, Membership
from orderflow.messaging.kafka.lag import Lag
from orderflow.messaging.kafka.survey import GroupLag, Log, Survey, Surveyor
from orderflow.messaging.schemas.avro import Decoder
from orderflow.messaging.settings import KafkaSettings
from orderflow.messaging.testing.registry import InMemoryRegistry
from orderflow.services.operations.api import Sources, build_api
from orderflow.services.operations.auditor import LastAudit
from orderflow.services.operations.orders import OrderApi
from orderflow.services.operations.questions import Questions
from orderflow.services.operations.surveys import Surveys

GROUP, LETTERS = "payment-service", "orders.payment-service.dlt"
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


class MemoryDesk(Desk):
    """The desk's answers about letters in memory; a real one asks the cluster."""

    def __init__(self, *letters: Letter) -> None:
        super().__init__(KafkaSettings(), {}, "dispositions")
        self.known = list(letters)
        self.acts: list[dict[str, Any]] = []
        self.error: Exception | None = None

    def letters(
        self, letter_filter: LetterFilter = ANY, *, include_closed: bool = False
    ) -> Iterator[Letter]:
        if self.error is not None:
            raise self.error
        for letter in sorted(self.known, key=lambda letter: letter.id):
            if letter_filter.takes(letter) and (include_closed or letter.is_open):
                yield letter

    def find(self, letter_id: LetterId) -> Letter:
        for letter in self.letters(include_closed=True):
            if letter.id == letter_id:
                return letter
        raise LetterGone(f"there is no letter {letter_id}")

    def balance(self) -> list[LetterBalance]:
        is_open = sum(letter.is_open for letter in self.known)
        replayed = len(self.known) - is_open
        return [
            LetterBalance(group=GROUP, letters=len(self.known), replayed=replayed, open=is_open)
        ]

    def plan_replay(self, letter_filter: LetterFilter = ANY, **limits: Any) -> ReplayPlan:
        replays_max = limits.get("replays_max") or REPLAYS_MAX
        planned = [planned_of(letter, replays_max) for letter in self.meant(letter_filter)]
        to_send = [row for row in planned if row.held is None]
        most = limits.get("max_letters") or len(to_send)
        return ReplayPlan(
            to_send=Counter(row.to for row in to_send[:most] if row.to),
            held=Counter(row.held for row in planned if row.held),
            beyond_max=max(0, len(to_send) - most),
            letters=(*to_send[:most], *(row for row in planned if row.held)),
        )

    def replay(self, letter_filter: LetterFilter, **options: Any) -> DeskReport:
        stop = options.pop("stop")
        self.acts.append(options)
        plan = self.plan_replay(letter_filter, max_letters=options["max_letters"])
        if stop():
            return DeskReport(stopped=True, left=plan.total)
        return self.decide(plan, DispositionKind.REPLAYED, options)

    def discard(self, letter_filter: LetterFilter, **options: Any) -> DeskReport:
        del options["stop"]
        self.acts.append(options)
        # Whoever is parked may be laid aside.
        plan = self.plan_replay(
            letter_filter, max_letters=options["max_letters"], replays_max=1_000
        )
        return self.decide(plan, DispositionKind.DISCARDED, options)

    def meant(self, letter_filter: LetterFilter) -> list[Letter]:
        """Letters that are named are meant whatever became of them."""
        return list(self.letters(letter_filter, include_closed=letter_filter.ids is not None))

    def decide(
        self, plan: ReplayPlan, kind: DispositionKind, options: dict[str, Any]
    ) -> DeskReport:
        ids = [row.id for row in plan.letters if row.to]
        disposition = Disposition(
            kind=kind, by=options["by"], reason=options["reason"], at=AT, replays=1
        )
        self.known = [
            replace(letter, disposition=disposition) if letter.id in ids else letter
            for letter in self.known
        ]
        return DeskReport(
            done=plan.total,
            by_topic=plan.to_send,
            held=plan.held,
            beyond_max=plan.beyond_max,
            letters=plan.letters,
        )


def planned_of(letter: Letter, replays_max: int) -> PlannedLetter:
    held = None
    if not letter.is_open:
        held = Held.DEALT_WITH
    elif letter.is_parked(replays_max):
        held = Held.PARKED
    to = None if held else f"{letter.topic}.{letter.group}.replay"
    return PlannedLetter(id=letter.id, to=to, held=held, why=f"{held}" if held else "")


def a_letter(offset: int, *, value: bytes | None = b"\xff", **more: Any) -> Letter:
    """A dead letter of payment, a minute after the one before it."""
    evidence = LetterEvidence(
        original_topic="orders",
        group=GROUP,
        exception_type="orderflow.messaging.errors.Poison",
        message="no frame",
        event_type="orderflow.OrderCreated",
        order_id=f"order-{offset}",
        replays=more.pop("replays", 0),
    )
    return Letter(
        id=LetterId(LETTERS, 0, offset),
        group=GROUP,
        topic="orders",
        evidence=evidence,
        all_headers=[],
        **{
            "key": f"order-{offset}".encode(),
            "value": value,
            "headers": [("ce_type", b"orderflow.OrderCreated"), ("odd", b"\xff")],
            "written_at": AT + timedelta(minutes=offset),
            "size": 120,
            **more,
        },
    )


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
            "desk": MemoryDesk,
            "decoder": Decoder(InMemoryRegistry()),
            "letters": questions(opened, "dead letters", threads=2),
            "acts": questions(opened, "replays", threads=1),
            "last_audit": LastAudit(),
        }
        yield OperationsApi(Sources(**{**sources, **more}))


def questions(opened: ExitStack, name: str, *, threads: int) -> Questions:
    made = Questions(name, threads=threads, waiting_max=8)
    opened.callback(made.close)
    made.start()
    return made
