"""What the problems of this service mean: the pages under `/problems`."""

from __future__ import annotations

from http import HTTPStatus

from orderflow.messaging.http.problem_types import ProblemType

PROBLEM_TYPES = (
    ProblemType(
        "dead-letter-not-found",
        HTTPStatus.NOT_FOUND,
        "There is no open dead letter with this id.",
        "See GET /dead-letters; it may be replayed or discarded by now.",
    ),
    ProblemType(
        "another-replay-has-begun",
        HTTPStatus.CONFLICT,
        "Somebody else replays or discards dead letters at this moment. What was committed stays.",
        "Look again, then send the same: nothing is sent twice.",
    ),
    ProblemType(
        "dead-letters-not-ready",
        HTTPStatus.SERVICE_UNAVAILABLE,
        "The topics of dead letters can't be read or written.",
        "`detail` says why; try again after the seconds of Retry-After.",
    ),
    ProblemType(
        "nothing-done",
        HTTPStatus.CONFLICT,
        "None of the letters that were meant could be replayed or discarded.",
        "`letters` says why, each by its id.",
    ),
    ProblemType(
        "group-not-found",
        HTTPStatus.NOT_FOUND,
        "No such consumer group has committed on our topics.",
        "See GET /lag for those that have.",
    ),
    ProblemType(
        "order-service-away",
        HTTPStatus.SERVICE_UNAVAILABLE,
        "The order service did not answer.",
        "See whether order-api is ready, and whether its address is right.",
    ),
    ProblemType(
        "books-not-audited",
        HTTPStatus.SERVICE_UNAVAILABLE,
        "The books have not been audited yet.",
        "Wait for the next audit, or run `orderflow books`.",
    ),
)
