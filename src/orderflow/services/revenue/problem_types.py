"""What the problems of this service mean: the pages under `/problems`."""

from __future__ import annotations

from http import HTTPStatus

from orderflow.messaging.http.problem_types import ProblemType

PROBLEM_TYPES = (
    ProblemType(
        "no-revenue",
        HTTPStatus.NOT_FOUND,
        "Nothing was ever captured from such a customer in that currency.",
        "Look at the id and the currency.",
    ),
    ProblemType(
        "no-such-table",
        HTTPStatus.NOT_FOUND,
        "There is no such table of states here.",
        "See /docs for those that there are.",
    ),
    ProblemType(
        "not-yet",
        HTTPStatus.TOO_EARLY,
        "The tables are not as far as `minPosition` yet.",
        "Ask again after the seconds of Retry-After.",
    ),
)
