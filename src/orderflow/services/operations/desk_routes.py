"""`/dead-letters…`: list them, explain one, send them back, or lay them aside."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from http import HTTPStatus
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from orderflow.contracts.events import EVENT_TYPES
from orderflow.messaging.dead_letters.desk import Desk, LetterGone
from orderflow.messaging.dead_letters.letter_place import LetterId, letter_id_of
from orderflow.messaging.dead_letters.letters import Letter, LetterFilter
from orderflow.messaging.dead_letters.payload import payload_of
from orderflow.messaging.dead_letters.replay_plan import SHOWN_MAX, PlannedLetter, ReplayPlan
from orderflow.messaging.errors import ConfigurationError, Fenced, redacted
from orderflow.messaging.http import problems
from orderflow.messaging.http.actor import Actor, actor_of
from orderflow.messaging.http.bodies import read_json
from orderflow.messaging.http.health import json_answer
from orderflow.messaging.http.pages import Cursors, page
from orderflow.messaging.http.parameters import query_value, refuse_unknown
from orderflow.messaging.schemas.avro import Decoder
from orderflow.services.operations.desk_requests import (
    FILTERS,
    LIMIT_DEFAULT,
    LIMIT_MAX,
    DiscardRequest,
    ReplayRequest,
    WantedState,
    body_filter,
    path_letter,
    query_filter,
)
from orderflow.services.operations.desk_views import (
    DeskAnswer,
    LetterDetail,
    LetterPage,
    LetterSummary,
    letter_detail,
    letter_view,
    plan_answer,
    report_answer,
    state_of,
    summary_view,
)
from orderflow.services.operations.questions import Questions

LIMIT = Annotated[int, Meta(ge=1, le=LIMIT_MAX)]
READ_WITHIN_S = 10.0
ACT_WITHIN_S = 20.0
"""After so long a command begins no further transaction, and says how many letters are left."""

ACT_LATE_S = 75.0
"""Longer than brokers may take to fence whoever was the desk before: 60 s."""
READ_LATE = "reading the dead letters takes too long: narrow it by group, topic or time"
ACT_LATE = (
    "the brokers have not answered in time; what was committed stays: "
    "see the letters' state, then send the same again, which sends nothing twice"
)

T = TypeVar("T")


class DeskRoutes:
    """
    `desk` makes one for each request. `reads`: questions that any of some threads answers; `acts`:
    those of one thread alone, so that no command of this process fences another one.
    """

    def __init__(
        self, desk: Callable[[], Desk], decoder: Decoder, *, reads: Questions, acts: Questions
    ) -> None:
        self._desk = desk
        self._decoder = decoder
        self._reads, self._acts = reads, acts
        self._replays = msgspec.json.Decoder(ReplayRequest)
        self._discards = msgspec.json.Decoder(DiscardRequest)

    def routes(self) -> list[BaseRoute]:
        path = "/dead-letters"
        return [
            Route(path, self.get_page, methods=["GET"]),
            Route(f"{path}/summary", self.get_summary, methods=["GET"]),
            Route(f"{path}/replay", self.post_replay, methods=["POST"]),
            Route(f"{path}/discard", self.post_discard, methods=["POST"]),
            Route(f"{path}/{{topic}}/{{partition}}/{{offset}}", self.get_letter, methods=["GET"]),
        ]

    async def get_page(self, request: Request) -> Response:
        query = request.query_params
        refuse_unknown(query, (*FILTERS, "limit", "cursor"))
        wanted, state = query_filter(query)
        limit = query_value(query, "limit", LIMIT, default=LIMIT_DEFAULT)
        cursor = _LETTERS.read(query)
        after = None if cursor is None else LetterId.parse(cursor)

        return json_answer(await self._read(lambda: self._page(wanted, state, limit, after)))

    async def get_summary(self, request: Request) -> Response:
        query = request.query_params
        refuse_unknown(query, (*FILTERS, "limit"))
        wanted, state = query_filter(query)
        if state not in (WantedState.OPEN, WantedState.PARKED, WantedState.ALL):
            raise problems.invalid("state of a summary is open, parked or all")
        limit = query_value(query, "limit", LIMIT, default=LIMIT_MAX)

        return json_answer(await self._read(lambda: self._summary(wanted, state, limit)))

    async def get_letter(self, request: Request) -> Response:
        refuse_unknown(request.query_params, ())
        letter_id = path_letter(request)
        if letter_id is None:
            raise no_such_letter("a letter is named by <dead-letter topic>/<partition>/<offset>")
        return json_answer(await self._read(lambda: self._detail(letter_id)))

    async def post_replay(self, request: Request) -> Response:
        refuse_unknown(request.query_params, ())
        body = await read_json(request, self._replays)
        wanted, actor = body_filter(body), actor_of(request)
        return await self._act(lambda: self._replay(body, wanted, actor), "sent")

    async def post_discard(self, request: Request) -> Response:
        refuse_unknown(request.query_params, ())
        body = await read_json(request, self._discards)
        if not body.reason.strip():
            raise problems.invalid("reason: say why, for nobody sends a discarded letter again")
        wanted, actor = body_filter(body), actor_of(request)
        return await self._act(lambda: self._discard(body, wanted, actor), "discarded")

    async def _read(self, work: Callable[[], T]) -> T:
        return await self._reads.ask(
            lambda: _in_words(work), within_s=READ_WITHIN_S, late=READ_LATE
        )

    async def _act(self, work: Callable[[], DeskAnswer], done: str) -> Response:
        answer = await self._acts.ask(lambda: _in_words(work), within_s=ACT_LATE_S, late=ACT_LATE)
        if not (answer.dry_run or answer.done) and answer.held:
            raise nothing_done(answer, done)
        return json_answer(answer)

    def _page(
        self, wanted: LetterFilter, state: WantedState, limit: int, after: LetterId | None
    ) -> LetterPage:
        letters: list[Letter] = []
        deadline = time.monotonic() + READ_WITHIN_S
        closed = state not in (WantedState.OPEN, WantedState.PARKED)

        with closing(_iterator(self._desk().letters(wanted, include_closed=closed))) as read:
            for letter in read:
                if time.monotonic() > deadline:
                    raise problems.unavailable(READ_LATE)
                if _is_meant(letter, state) and (after is None or letter.id > after):
                    letters.append(_without_value(letter))
                if len(letters) > limit:
                    break

        shown, next_cursor = page(
            letters, limit=limit, cursor_of=lambda row: _LETTERS.of(str(row.id))
        )
        return LetterPage(
            items=tuple(letter_view(letter) for letter in shown), next_cursor=next_cursor
        )

    def _summary(self, wanted: LetterFilter, state: WantedState, limit: int) -> LetterSummary:
        desk = self._desk()
        groups = desk.summary(wanted, include_closed=state is WantedState.ALL)
        return summary_view(groups, desk.balance(), limit=limit)

    def _detail(self, letter_id: LetterId) -> LetterDetail:
        desk = self._desk()
        letter = desk.find(letter_id)
        plan = None
        if letter.is_open:
            plan = desk.plan_replay(LetterFilter(ids=frozenset([letter_id])))

        return letter_detail(letter, payload_of(letter.value, self._decoder, EVENT_TYPES), plan)

    def _replay(self, body: ReplayRequest, wanted: LetterFilter, actor: Actor) -> DeskAnswer:
        desk = self._desk()
        limits: dict[str, Any] = {
            "max_letters": body.max,
            "replays_max": body.replays_max,
            "keep_order": body.keep_order,
        }
        if body.dry_run:
            return plan_answer(desk.plan_replay(wanted, **limits))

        report = desk.replay(
            wanted, by=actor, reason=body.reason or "", stop=_over(ACT_WITHIN_S), **limits
        )
        return report_answer(report)

    def _discard(self, body: DiscardRequest, wanted: LetterFilter, actor: Actor) -> DeskAnswer:
        desk = self._desk()
        if body.dry_run:
            return plan_answer(_discard_plan(desk, wanted, body.max))

        report = desk.discard(
            wanted, by=actor, reason=body.reason, max_letters=body.max, stop=_over(ACT_WITHIN_S)
        )
        return report_answer(report)


def _iterator(letters: Iterator[Letter]) -> Any:
    """The desk's, which is to be closed by whoever leaves early."""
    return letters


def _is_meant(letter: Letter, state: WantedState) -> bool:
    if state in (WantedState.REPLAYED, WantedState.DISCARDED):
        return state_of(letter).value.lower() == state.value
    return True


def _without_value(letter: Letter) -> Letter:
    """A page is in memory: 200 payloads of 2 MiB would be too."""
    return msgspec.structs.replace(letter, value=None, headers=[], all_headers=[])


def _discard_plan(desk: Desk, wanted: LetterFilter, most: int) -> ReplayPlan:
    planned: list[PlannedLetter] = []
    by_topic: dict[str, int] = {}
    beyond = 0

    for letter in desk.letters(wanted):
        if len(planned) == most:
            beyond += 1
            continue
        planned.append(PlannedLetter(id=letter.id, replays=letter.evidence.replays))
        by_topic[letter.id.topic] = by_topic.get(letter.id.topic, 0) + 1
    return ReplayPlan(to_send=by_topic, beyond_max=beyond, letters=tuple(planned[:SHOWN_MAX]))


def _over(within_s: float) -> Callable[[], bool]:
    deadline = time.monotonic() + within_s
    return lambda: time.monotonic() > deadline


def _in_words(work: Callable[[], T]) -> T:
    """Whatever the desk refuses is a problem of its own."""
    try:
        return work()
    except LetterGone as error:
        raise no_such_letter(str(error)) from error
    except Fenced as error:
        raise another_desk() from error
    except ConfigurationError as error:
        raise desk_refuses(str(error)) from error


def no_such_letter(detail: str) -> problems.Problem:
    return problems.problem(
        HTTPStatus.NOT_FOUND, "dead-letter-not-found", "There is no such dead letter", detail
    )


def another_desk() -> problems.Problem:
    return problems.problem(
        HTTPStatus.CONFLICT,
        "another-replay-has-begun",
        "Somebody else replays or discards dead letters",
        "what was committed stays; look again, then send the same: nothing is sent twice",
    )


def desk_refuses(why: str) -> problems.Problem:
    return problems.problem(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "dead-letters-not-ready",
        "The topics of dead letters can't be used",
        redacted(why),
        Retry_After=str(problems.RETRY_AFTER_S),
    )


def nothing_done(answer: DeskAnswer, done: str) -> problems.Problem:
    """None of the letters that were meant; with the reason for each."""
    reasons = ", ".join(f"{count} {held}" for held, count in answer.held.items())
    return problems.Problem(
        f"No letter was {done}",
        type_="nothing-done",
        detail=f"{reasons}: letters says why, each by its id",
        status=int(HTTPStatus.CONFLICT),
        held={str(held): count for held, count in answer.held.items()},
        letters=[msgspec.to_builtins(row) for row in answer.letters],
    )


_LETTERS = Cursors("dead-letters", lambda item: letter_id_of(item.encode()))
