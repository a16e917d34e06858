"""The paths of the OpenAPI document that are about dead letters."""

from __future__ import annotations

from orderflow.messaging.documents import openapi
from orderflow.messaging.documents.openapi import (
    Schema,
    Schemas,
    operation,
    path_parameter,
    query_parameter,
)
from orderflow.services.operations import examples
from orderflow.services.operations.desk_requests import (
    LIMIT_DEFAULT,
    LIMIT_MAX,
    DiscardRequest,
    ReplayRequest,
    WantedState,
)
from orderflow.services.operations.desk_views import (
    DeskAnswer,
    LetterDetail,
    LetterPage,
    LetterSummary,
    NothingDone,
)

DESK_TYPES = (
    LetterPage,
    LetterSummary,
    LetterDetail,
    ReplayRequest,
    DiscardRequest,
    DeskAnswer,
    NothingDone,
)

_AWAY = "The brokers do not answer, reading takes too long, a topic is missing, or too many ask"
_WRONG = {"422": "A parameter is not valid, or not known"}


def _filter(name: str, description: str, **schema: object) -> Schema:
    return query_parameter(name, {"type": "string", **schema}, description)


_FILTERS: list[Schema] = [
    _filter("group", "The consumer group whose letters they are"),
    _filter("topic", "Where the records came from, or a dead-letter topic"),
    _filter("type", "Of the event, with or without its namespace"),
    _filter("cause", "Class of the failure or of its cause, with or without its module"),
    _filter("key", "The record's key, exactly"),
    _filter("orderId", "The event's correlation id, subject or key"),
    _filter("from", "Written then or later", format="date-time"),
    _filter("to", "Written before", format="date-time"),
    _filter("state", "Which letters", enum=[*WantedState], default=WantedState.OPEN.value),
]


def _limit(default: int) -> Schema:
    return query_parameter(
        "limit",
        {"type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "default": default},
        "How many of them",
    )


def desk_paths(schemas: Schemas) -> Schema:
    return {
        "/dead-letters": {"get": _list(schemas)},
        "/dead-letters/summary": {"get": _summary(schemas)},
        "/dead-letters/{topic}/{partition}/{offset}": {"get": _detail(schemas)},
        "/dead-letters/replay": {
            "post": _act(
                schemas,
                "Operators: send letters to their groups again",
                schemas.request(ReplayRequest, example=examples.REPLAY_REQUEST),
            )
        },
        "/dead-letters/discard": {
            "post": _act(
                schemas,
                "Operators: lay letters aside for good",
                schemas.request(DiscardRequest, example=examples.DISCARD_REQUEST),
            )
        },
    }


def _list(schemas: Schemas) -> Schema:
    cursor = query_parameter("cursor", {"type": "string"}, "The nextCursor of the page before")
    answers = {
        "200": schemas.answer("By topic and offset", LetterPage, example=examples.LETTERS),
        **schemas.problems({**_WRONG, "503": _AWAY}),
    }
    return operation(
        "Dead letters, one each", answers, parameters=[*_FILTERS, _limit(LIMIT_DEFAULT), cursor]
    )


def _summary(schemas: Schemas) -> Schema:
    answers = {
        "200": schemas.answer("Largest first", LetterSummary, example=examples.LETTER_SUMMARY),
        **schemas.problems({**_WRONG, "503": _AWAY}),
    }
    return operation(
        "Dead letters by what they have in common, and what became of all",
        answers,
        parameters=[*_FILTERS, _limit(LIMIT_MAX)],
    )


def _detail(schemas: Schemas) -> Schema:
    answers = {
        "200": schemas.answer("All about it", LetterDetail, example=examples.LETTER_DETAIL),
        **schemas.problems({"404": "There is no such letter any more", **_WRONG, "503": _AWAY}),
    }
    place = [
        path_parameter("topic", {"type": "string"}),
        path_parameter("partition", {"type": "integer", "minimum": 0}),
        path_parameter("offset", {"type": "integer", "minimum": 0}),
    ]
    return operation("A dead letter, with its evidence and payload", answers, parameters=place)


def _act(schemas: Schemas, summary: str, request: Schema) -> Schema:
    answers = {
        "200": schemas.answer("What was done", DeskAnswer, example=examples.DESK_ANSWER),
        "409": schemas.problem("Nothing: letters says why; or somebody else does it", NothingDone),
        **schemas.problems(
            {
                "400": "The body is not JSON",
                "413": "The body is too large",
                "415": "The body is not declared as JSON",
                "422": "The body or the actor is not valid",
                "503": _AWAY,
            }
        ),
    }

    return {
        **operation(summary, answers, parameters=[openapi.ACTOR]),
        "requestBody": request,
    }
