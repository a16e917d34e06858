"""An order's id is one id, however a client spells it, at every edge that takes one."""

from __future__ import annotations

import pytest
from starlette.datastructures import QueryParams
from starlette.requests import Request

from orderflow.contracts.ids import known_order_id
from orderflow.services.inventory.api import _order_id as inventory_order_id
from orderflow.services.notification.api import _ids
from orderflow.services.operations.desk_requests import query_filter

ORDER_ID = "0f1e2d3c-4b5a-4978-8695-a4b3c2d1e0ff"
SPELLINGS = [ORDER_ID, ORDER_ID.upper(), ORDER_ID.replace("-", ""), f"urn:uuid:{ORDER_ID}"]


@pytest.mark.parametrize("text", SPELLINGS)
def test_every_spelling_is_the_same_id(text: str) -> None:
    assert known_order_id(text) == ORDER_ID


@pytest.mark.parametrize("text", ["", "nope", "0f1e", ORDER_ID + "0"])
def test_what_is_no_id_is_left_as_it_is(text: str) -> None:
    assert known_order_id(text) == text


@pytest.mark.parametrize("text", SPELLINGS)
def test_queries_take_every_spelling(text: str) -> None:
    query = QueryParams({"orderId": text})
    assert _ids(query) == (ORDER_ID, "")
    assert query_filter(query)[0].order_id == ORDER_ID


@pytest.mark.parametrize("text", SPELLINGS)
def test_paths_take_every_spelling(text: str) -> None:
    request = Request({"type": "http", "path_params": {"order_id": text}})
    assert inventory_order_id(request) == ORDER_ID
