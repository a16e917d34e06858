"""The `type` of every problem document leads to a page that says what happened and what to do."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from http import HTTPStatus
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from orderflow.messaging.http import problems
from orderflow.messaging.http.problem_types import COMMON, ProblemType, problem_pages

ROOT = Path(__file__).parents[2] / "src/orderflow"
COMMON_SLUGS = {each.slug for each in COMMON}
OF_STREAMS = {"no-such-table", "not-yet"}
"""What interactive queries of the kit answer: a service that has some explains them."""

OF_STARLETTE = {"not-found", "method-not-allowed"}
"""Made of the phrase of a status."""

WITH_PROBLEMS = ("order", "inventory", "payment", "fulfilment", "revenue", "operations")


def table(service: str) -> tuple[ProblemType, ...]:
    below = ".http" if service == "order" else ""
    name = f"orderflow.services.{service}{below}.problem_types"
    types: tuple[ProblemType, ...] = import_module(name).PROBLEM_TYPES
    return types


def slugs(room: Path) -> set[str]:
    return {slug for file in room.rglob("*.py") for slug in _slugs(ast.parse(file.read_text()))}


def statuses(room: Path) -> dict[str, set[str]]:
    """Of calls of `problem` with a slug that stands there, the status that they give."""
    given: dict[str, set[str]] = {}
    for file in room.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            match node:
                case ast.Call(args=[ast.Attribute(attr=status), ast.Constant(value=str(slug)), *_]):
                    given.setdefault(slug, set()).add(status)
    return given


def _slugs(tree: ast.AST) -> Iterator[str]:
    """Of calls of `problem`, of arguments `type_`, and of classes with a `slug`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            given = [node.args[1]] if name == "problem" and len(node.args) > 1 else []
            given += [keyword.value for keyword in node.keywords if keyword.arg == "type_"]
        elif isinstance(node, ast.Assign):
            names = [target.id for target in node.targets if isinstance(target, ast.Name)]
            given = [node.value] if names == ["slug"] else []
        else:
            continue
        for value in given:
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                yield value.value


def test_every_problem_of_the_kit_has_its_page() -> None:
    assert slugs(ROOT / "messaging") - OF_STREAMS == COMMON_SLUGS - OF_STARLETTE


@pytest.mark.parametrize("service", WITH_PROBLEMS)
def test_every_problem_of_a_service_has_its_page_and_no_page_is_about_nothing(service: str) -> None:
    answered = slugs(ROOT / "services" / service) - COMMON_SLUGS
    answered |= OF_STREAMS if service == "revenue" else set()
    explained = [each.slug for each in table(service)]
    assert sorted(explained) == sorted(answered)

    given = statuses(ROOT / "services" / service)
    told = {each.slug: {each.status.name} for each in table(service) if each.slug in given}
    assert told == {slug: given[slug] for slug in told}


def test_no_other_service_has_problems_of_its_own() -> None:
    others = {room.name for room in (ROOT / "services").iterdir() if room.is_dir()}
    for service in others - {*WITH_PROBLEMS, "__pycache__"}:
        assert slugs(ROOT / "services" / service) <= COMMON_SLUGS, service
        assert find_spec(f"orderflow.services.{service}.problem_types") is None


def test_an_address_in_a_problem_document_leads_to_its_page() -> None:
    own = ProblemType("too-small", HTTPStatus.CONFLICT, "It is < 1.", "Take a larger one.")
    routes = problem_pages([own])
    client = TestClient(Starlette(routes=routes, exception_handlers=problems.handlers()))
    too_small = problems.problem(HTTPStatus.CONFLICT, "too-small", "It is too small")
    _, body, _ = problems.document(too_small)
    assert b'"type":"/problems/too-small"' in body

    page = client.get("/problems/too-small")
    assert page.headers["content-type"].startswith("text/html")
    assert "Status 409 Conflict" in page.text
    assert "It is &lt; 1." in page.text
    assert "What to do: Take a larger one." in page.text
    assert '<a href="/problems/too-small">' in client.get("/problems").text

    unknown = client.get("/problems/nobody")
    assert unknown.status_code == HTTPStatus.NOT_FOUND
    assert unknown.json()["type"] == "/problems/not-found"
