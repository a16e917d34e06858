"""Health answers in plain words."""

from __future__ import annotations

import json
from typing import Any

import pytest

from orderflow.stack.supervise.health_answer import WORDS_MAX, why_not_ready

QUARKUS = {
    "status": "DOWN",
    "checks": [
        {"name": "PersistenceSimpleReadinessCheck", "status": "DOWN", "data": {"trace": "at io…"}},
        {"name": "ResponseErrorLivenessCheck", "status": "UP"},
    ],
}


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"reasons": ["no slot", "the database is away"]}, "no slot; the database is away"),
        (QUARKUS, "/p answered 503: PersistenceSimpleReadinessCheck is down"),
        ({"title": "Busy", "detail": "wait"}, "/p answered 503: Busy; wait"),
        ({"status": "unhealthy", "message": "starting"}, "/p answered 503: starting"),
        ({"reasons": []}, "/p answered 503"),
        (["?"], "/p answered 503"),
        ({"reasons": "none", "checks": 3, "title": 4}, "/p answered 503"),
    ],
)
def test_a_document_is_told_in_words(document: Any, words: str) -> None:
    assert why_not_ready("/p", 503, json.dumps(document)) == words


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("", "/p answered 500"),
        ("Invalid HTTP request received.", "/p answered 500: Invalid HTTP request received."),
        ('{"cut": "of', "/p answered 500"),
        ("<html>…</html>", "/p answered 500"),
        ("two\n lines", "/p answered 500: two lines"),
    ],
)
def test_what_is_no_document_is_one_line_or_only_its_status(body: str, words: str) -> None:
    assert why_not_ready("/p", 500, body) == words


def test_reasons_are_one_line_of_a_bounded_length() -> None:
    long = why_not_ready("/p", 503, json.dumps({"reasons": ["x\ny" * 1_000]}))
    assert (len(long), "\n" in long, long[-1]) == (WORDS_MAX, False, "…")
