"""What the lake has of payments, over HTTP: the exporter reads its files for whoever asks."""

from __future__ import annotations

from collections.abc import Sequence

import httpx2
import msgspec

from orderflow.books.accounts import LakeRow
from orderflow.messaging.errors import Unavailable
from orderflow.messaging.http.client import BoundedClient

OFFSETS_MAX = 2_000
"""In one question: the lake's limit."""
ANSWER_WITHIN_S = 20.0
RESOURCE = "lake"


class _Answer(msgspec.Struct, frozen=True, kw_only=True):
    rows: list[LakeRow]


class LakeFiles:
    """
    The rows of `GET /lake/payments`, by partition and offsets.

    Raises Unavailable when the lake does not answer within 20 s, or answers something else.
    """

    def __init__(self, url: str) -> None:
        self._client = BoundedClient(
            base_url=url, within_s=ANSWER_WITHIN_S, timeout=ANSWER_WITHIN_S, trust_env=False
        )

    def read(self, partition: int, first: int, end: int) -> Sequence[LakeRow]:
        """All rows of these offsets, by offset; at most `OFFSETS_MAX` offsets."""
        parameters = {"partition": str(partition), "first": str(first), "end": str(end)}
        try:
            answer = self._client.get("/lake/payments", params=parameters)
            answer.raise_for_status()
            return msgspec.json.decode(answer.content, type=_Answer).rows
        except (httpx2.HTTPError, msgspec.DecodeError) as error:
            why = f"GET /lake/payments: {error}"
            raise Unavailable(why, resource=RESOURCE, reason="shows no rows") from error

    def close(self) -> None:
        self._client.close()
