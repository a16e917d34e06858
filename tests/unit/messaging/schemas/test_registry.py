"""The registry's answers, each kept apart: known, unknown, refused, unreachable."""

from __future__ import annotations

import json
from collections.abc import Callable

import httpx2
import pytest

from orderflow.messaging.errors import ConfigurationError, Incompatible, Unavailable
from orderflow.messaging.schemas.registry import Registry
from orderflow.messaging.settings import RegistrySettings

Answer = Callable[[httpx2.Request], httpx2.Response]


def registry(answer: Answer) -> Registry:
    settings = RegistrySettings(url="http://user:secret@registry.test/apis/ccompat/v7/")
    return Registry(settings, transport=httpx2.MockTransport(answer))


def answering(status: int, body: object = None) -> Registry:
    return registry(lambda _request: httpx2.Response(status, json=body))


def test_what_is_known_is_told() -> None:
    assert answering(200, {"schema": '"string"'}).schema_text(7) == '"string"'
    assert answering(200, {"id": 7}).id_of("parcels-T", '"string"') == 7


def test_what_is_unknown_is_none() -> None:
    unknown = answering(404, {"error_code": 40403, "message": "Schema not found"})
    assert unknown.schema_text(7) is None
    assert unknown.id_of("parcels-T", '"string"') is None
    assert unknown.versions("parcels-T") == []


@pytest.mark.parametrize("status", [500, 502, 503, 429])
def test_a_registry_in_trouble_is_unavailable_and_never_a_records_fault(status: int) -> None:
    with pytest.raises(Unavailable, match=str(status)) as trouble:
        answering(status).schema_text(7)
    assert trouble.value.resource == "registry"


@pytest.mark.parametrize(
    "failure", [httpx2.ConnectError, httpx2.ReadTimeout, httpx2.RemoteProtocolError]
)
def test_a_registry_that_does_not_answer_is_unavailable(
    failure: type[httpx2.TransportError],
) -> None:
    def fail(_request: httpx2.Request) -> httpx2.Response:
        raise failure("no answer")

    with pytest.raises(Unavailable) as trouble:
        registry(fail).schema_text(7)
    assert "secret" not in str(trouble.value)


def test_a_refused_registration_says_what_the_registry_said() -> None:
    with pytest.raises(Incompatible, match=r"409: b at /fields/1"):
        answering(409, {"error_code": 409, "message": "b at /fields/1"}).register(
            "parcels-T", '"string"'
        )


HTML = "<html><body>Please log in</body></html>"


@pytest.mark.parametrize(
    "answer",
    [
        httpx2.Response(403, text=HTML),
        httpx2.Response(401, json={"error_code": 40101, "message": "who are you"}),
        httpx2.Response(302, headers={"Location": "https://login.test/"}, text=HTML),
        httpx2.Response(404, text=HTML),
        httpx2.Response(404, json={"error_code": 404, "message": "HTTP 404 Not Found"}),
        httpx2.Response(404, json={"message": "no Route matched with those values"}),
        httpx2.Response(409, text=HTML),
        httpx2.Response(422, text=HTML),
        httpx2.Response(200, text=HTML),
        httpx2.Response(200, content=b'{"schema": "\\"str'),
        httpx2.Response(200, content=b"\xff\xfe\x00"),
        httpx2.Response(200, json={"healthy": True}),
        httpx2.Response(200, json=["schema"]),
        httpx2.Response(204),
    ],
    ids=lambda answer: f"{answer.status_code} {answer.content[:12]!r}",
)
def test_what_a_gateway_answers_in_the_registrys_place_says_nothing_about_a_schema(
    answer: httpx2.Response,
) -> None:
    asked = registry(lambda _request: answer)
    for question in (
        lambda: asked.schema_text(7),
        lambda: asked.id_of("parcels-T", '"string"'),
        lambda: asked.versions("parcels-T"),
        asked.compatibility,
        lambda: asked.register("parcels-T", '"string"'),
    ):
        with pytest.raises(Unavailable, match=str(answer.status_code)) as trouble:
            question()
        assert "\n" not in str(trouble.value)


def test_a_refusal_of_us_says_what_to_look_at() -> None:
    with pytest.raises(Unavailable, match=r"401.*who are you.*password"):
        answering(401, {"error_code": 40101, "message": "who are you"}).schema_text(7)
    with pytest.raises(Unavailable, match=r"404.*is the address right"):
        registry(lambda _request: httpx2.Response(404, text=HTML)).schema_text(7)


def test_a_text_that_the_registry_cannot_read_is_our_fault() -> None:
    with pytest.raises(ConfigurationError, match="422"):
        answering(422, {"error_code": 42201, "message": "no schema"}).register("parcels-T", "{")


def test_a_subject_with_odd_characters_stays_one_path_segment() -> None:
    requests: list[httpx2.Request] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        requests.append(request)
        return httpx2.Response(200, json={"id": 1})

    registry(answer).register("a/b-shop.T", '"string"')
    assert requests[0].url.raw_path == b"/apis/ccompat/v7/subjects/a%2Fb-shop.T/versions"
    assert json.loads(requests[0].content) == {"schema": '"string"'}
