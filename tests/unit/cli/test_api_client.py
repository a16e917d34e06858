"""What a refusal says to whoever typed the command."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from orderflow.cli.api_client import Refused, success


def answer(status: int, body: Any) -> httpx2.Response:
    request = httpx2.Request("POST", "http://127.0.0.1:1/orders/nope/retry")
    return httpx2.Response(status, json=body, request=request)


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (404, {"title": "There is no such order"}, "There is no such order (/orders/nope/retry)"),
        (409, {"title": "Not now", "detail": "it ships"}, "Not now: it ships"),
        (409, {"title": "a\x1b[2J"}, "a\\x1b[2J"),
        (500, ["?"], "http://127.0.0.1:1/orders/nope/retry answered 500"),
    ],
)
def test_a_refusal_is_one_line_that_names_what_there_is_none_of(
    status: int, body: Any, words: str
) -> None:
    with pytest.raises(Refused) as refused:
        success(answer(status, body))
    assert str(refused.value) == words
    assert refused.value.status == status
