"""The provider's ledger, over HTTP."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import httpx2
import msgspec

from orderflow.books.accounts import LedgerEntry
from orderflow.messaging.errors import Unavailable
from orderflow.messaging.http.client import BoundedClient

REFERENCES_MAX = 500
"""In one question: the provider's limit."""
PAGE_MAX = 2_000
"""Entries in one page: the provider's limit."""
ANSWER_WITHIN_S = 10.0
RESOURCE = "provider"


class _Entry(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A charge has a status, a refund the reference of its charge."""

    charge_id: str = ""
    refund_id: str = ""
    reference: str
    charge_reference: str = ""
    status: str = "REFUNDED"
    amount_minor: int
    currency: str


class _Answer(msgspec.Struct, frozen=True, kw_only=True):
    entries: list[_Entry]


class ProviderLedger:
    """
    The entries of `GET /ledger`, in bounded pieces.

    Raises Unavailable when the provider does not answer within 10 s, or answers something else.
    """

    def __init__(self, url: str) -> None:
        self._client = BoundedClient(
            base_url=url, within_s=ANSWER_WITHIN_S, timeout=ANSWER_WITHIN_S, trust_env=False
        )

    def read(self, references: Sequence[str]) -> Mapping[str, Sequence[LedgerEntry]]:
        """The charges and refunds that were made with these references."""
        by_reference: defaultdict[str, list[LedgerEntry]] = defaultdict(list)
        for start in range(0, len(references), REFERENCES_MAX):
            some = references[start : start + REFERENCES_MAX]
            for entry in self._ask(("reference", reference) for reference in some):
                by_reference[entry.reference].append(entry)
        return dict(by_reference)

    def entries(self, after: int, limit: int) -> Sequence[LedgerEntry]:
        """At most `limit` entries from the `after`-th on, in the order in which they were made."""
        size = min(limit, PAGE_MAX)
        return self._ask((("after", str(after)), ("limit", str(size))))

    def close(self) -> None:
        self._client.close()

    def _ask(self, parameters: Iterable[tuple[str, str]]) -> list[LedgerEntry]:
        try:
            answer = self._client.get("/ledger", params=[*parameters])
            answer.raise_for_status()
            entries = msgspec.json.decode(answer.content, type=_Answer).entries
        except (httpx2.HTTPError, msgspec.DecodeError) as error:
            why = f"GET /ledger: {error}"
            raise Unavailable(why, resource=RESOURCE, reason="shows no ledger") from error
        return [_entry(entry) for entry in entries]


def _entry(entry: _Entry) -> LedgerEntry:
    return LedgerEntry(
        entry_id=entry.charge_id or entry.refund_id,
        reference=entry.reference,
        charge_reference=entry.charge_reference or entry.reference,
        status=entry.status,
        amount_minor=entry.amount_minor,
        currency=entry.currency,
    )
