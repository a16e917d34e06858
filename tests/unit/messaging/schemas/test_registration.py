"""The deploy step of schemas, on a registry that is slow, in trouble, or none at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from urllib.parse import unquote

import httpx2
import pytest
from tests.unit.messaging.schemas.parcels import CATALOGUE

from orderflow.messaging.errors import ConfigurationError, Incompatible, Unavailable, Unfit
from orderflow.messaging.schemas import registration
from orderflow.messaging.schemas.registry import FULL_TRANSITIVE, Registry
from orderflow.messaging.settings import RegistrySettings
from orderflow.messaging.testing.memory_clock import MemoryClock
from orderflow.messaging.testing.registry import InMemoryRegistry
from orderflow.messaging.work.patience import Patience

Trouble = Callable[[], httpx2.Response]


class Server:
    """A registry over HTTP; before the answer of each number come the `troubles` of that number."""

    def __init__(self, troubles: dict[int, list[Trouble]]) -> None:
        self.held = InMemoryRegistry()
        self.levels: dict[str, str] = {}
        self.troubles = {number: list(answers) for number, answers in troubles.items()}
        self.requests = 0
        self.answered = 0

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.requests += 1
        if left := self.troubles.get(self.answered):
            return left.pop(0)()
        self.answered += 1
        return self._answer(request)

    def _answer(self, request: httpx2.Request) -> httpx2.Response:
        what, _, rest = request.url.path.removeprefix("/v7/").partition("/")
        subject = unquote(rest.partition("/")[0])
        body = json.loads(request.content or "{}")
        if what == "config":
            if request.method == "PUT":
                self.levels[subject] = body["compatibility"]
                return httpx2.Response(200, json=body)
            return httpx2.Response(200, json={"compatibilityLevel": self.levels[subject]})

        if rest.endswith("/versions"):
            return httpx2.Response(200, json={"id": self.held.register(subject, body["schema"])})
        schema_id = self.held.id_of(subject, body["schema"])
        if schema_id is None:
            return httpx2.Response(404, json={"error_code": 40403, "message": "Schema not found"})
        return httpx2.Response(200, json={"id": schema_id})


class Deployment:
    """`registration.apply` against a server, with a clock that only the waits advance."""

    def __init__(self, troubles: dict[int, list[Trouble]]) -> None:
        self.clock = MemoryClock()
        self.began = self.clock.monotonic()
        self.waits: list[str] = []
        self.server = Server(troubles)
        self.registry = Registry(
            RegistrySettings(url="http://registry.test/v7"),
            patience=Patience(
                waiting=lambda error, _left_s: self.waits.append(str(error)),
                clock=self.clock,
                rest=self.clock.advance,
            ),
            transport=httpx2.MockTransport(self.server),
        )

    def apply(self) -> None:
        planned = registration.apply(CATALOGUE, self.registry)
        assert all(entry.schema_id is not None for entry in planned.registrations)
        assert set(planned.levels.values()) == {FULL_TRANSITIVE}

    @property
    def waited_s(self) -> float:
        return self.clock.monotonic() - self.began


def silence() -> httpx2.Response:
    raise httpx2.ReadTimeout("no answer")


def refused() -> httpx2.Response:
    raise httpx2.ConnectError("connection refused")


def answer(status: int, *, text: str = "", body: object = None) -> Trouble:
    if body is not None:
        return lambda: httpx2.Response(status, json=body)
    return lambda: httpx2.Response(status, text=text)


QUIET = Deployment({})
QUIET.apply()
REQUESTS = QUIET.server.requests


@pytest.mark.parametrize("number", range(REQUESTS))
def test_one_slow_answer_whichever_it_is_ends_no_deployment(number: int) -> None:
    deployment = Deployment({number: [silence]})
    deployment.apply()
    assert deployment.waits == [deployment.waits[0]]
    assert "ReadTimeout" in deployment.waits[0]
    # It goes on where it was: a registry that is slow now and then would never see the end else.
    assert deployment.server.requests == REQUESTS + 1


@pytest.mark.parametrize(
    "trouble", [silence, refused, answer(500), answer(503, text="<html>starting</html>")]
)
def test_a_registry_that_starts_is_waited_for(trouble: Trouble) -> None:
    deployment = Deployment({0: [trouble] * 20})
    deployment.apply()
    assert 20 < deployment.waited_s < 60


def test_a_registry_that_stays_away_is_given_up_after_a_minute() -> None:
    deployment = Deployment({0: [refused] * 1_000})
    with pytest.raises(Unavailable, match="ConnectError"):
        deployment.apply()
    assert deployment.waited_s == 60


@pytest.mark.parametrize(
    ("trouble", "error"),
    [
        (answer(404, text="<html>nothing here</html>"), Unfit),
        (answer(200, text="<html>a portal</html>"), Unfit),
        (answer(401, body={"error_code": 40101, "message": "who are you"}), Unfit),
        (answer(422, body={"error_code": 42201, "message": "no schema"}), ConfigurationError),
        (answer(409, body={"error_code": 409, "message": "field b"}), Incompatible),
    ],
)
def test_what_no_wait_mends_ends_it_at_once(trouble: Trouble, error: type[Exception]) -> None:
    deployment = Deployment({0: [trouble] * 2})
    with pytest.raises(error):
        deployment.apply()
    assert (deployment.server.requests, deployment.waits) == (1, [])
