"""Who gives a command, by the request's own account."""

import pytest
from starlette.requests import Request

from orderflow.messaging.http.actor import ANONYMOUS, actor_of
from orderflow.messaging.http.problems import Problem


def _request(*headers: tuple[str, str]) -> Request:
    raw = [(name.lower().encode(), value.encode()) for name, value in headers]
    return Request({"type": "http", "method": "POST", "path": "/", "headers": raw})


def test_the_actor_is_the_name_in_the_header() -> None:
    assert actor_of(_request(("Orderflow-Actor", "lena@shop"))) == "lena@shop"


def test_without_the_header_the_actor_is_anonymous() -> None:
    assert actor_of(_request()) == ANONYMOUS


@pytest.mark.parametrize("name", ["", "a b", "x" * 65, "\x1b[2J"])
def test_a_name_that_is_no_identifier_is_refused(name: str) -> None:
    with pytest.raises(Problem) as refused:
        actor_of(_request(("Orderflow-Actor", name)))
    assert refused.value.status == 422
