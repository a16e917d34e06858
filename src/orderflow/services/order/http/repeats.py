"""Answers to a request whose Idempotency-Key an earlier one has claimed."""

from __future__ import annotations

import msgspec
from starlette.responses import Response

from orderflow.contracts.ids import OrderId
from orderflow.services.order.http import problems
from orderflow.services.order.http.requests import REPLAYED
from orderflow.services.order.http.views import order_answer
from orderflow.services.order.idempotency import Claim, ClaimedKey


class _Revision(msgspec.Struct):
    revision: int


_REVISION = msgspec.json.Decoder(_Revision)


def stored_answer(answer: bytes, order_id: OrderId) -> Response:
    """A stored view of the order, byte for byte, with the ETag that it had."""
    return order_answer(answer, order_id, _REVISION.decode(answer).revision)


def replayed(answer: Response) -> Response:
    answer.headers[REPLAYED] = "true"
    return answer


def demand_same(earlier: ClaimedKey, claim: Claim | None) -> None:
    """Raises a problem (422) unless both are the same request."""
    if claim is None or earlier.request_hash != claim.request_hash:
        raise problems.key_taken()
