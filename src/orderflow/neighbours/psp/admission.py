"""Who may call, and how often: the API key, and requests per second."""

from __future__ import annotations

import hmac
import math
import time
from collections.abc import Callable


class Refusal(Exception):
    """
    The request is wrong, or may not be done; a decline is an entry and no refusal.

    `headers`: of the answer.
    """

    def __init__(
        self, status: int, slug: str, detail: str, *, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status, self.slug, self.detail = status, slug, detail
        self.headers = headers or {}


class Admission:
    """
    `api_key`: without one anybody may call. `requests_per_s`: a bucket of as many tokens, at least
    one; without it there is no limit.
    """

    def __init__(
        self,
        *,
        api_key: str | None = None,
        requests_per_s: float | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._authorization = None if api_key is None else f"Bearer {api_key}".encode()
        self._per_s = requests_per_s
        self._monotonic = monotonic
        self._tokens_max = max(1.0, requests_per_s or 1.0)
        self._tokens, self._filled_at = self._tokens_max, monotonic()

    def admit(self, authorization: str | None) -> None:
        """Raises Refusal: 401 for a missing or wrong key, 429 for a request too many."""
        given = (authorization or "").encode()
        if self._authorization is not None and not hmac.compare_digest(given, self._authorization):
            raise Refusal(
                401,
                "unauthorized",
                "send the API key as Authorization: Bearer …",
                headers={"WWW-Authenticate": "Bearer"},
            )

        if self._per_s is not None:
            self._take(self._per_s)

    def _take(self, per_s: float) -> None:
        now = self._monotonic()
        self._tokens = min(self._tokens_max, self._tokens + (now - self._filled_at) * per_s)
        self._filled_at = now

        if self._tokens < 1.0:
            wait_s = math.ceil((1.0 - self._tokens) / per_s)
            raise Refusal(
                429,
                "too-many-requests",
                f"at most {per_s:g} requests a second",
                headers={"Retry-After": str(wait_s)},
            )
        self._tokens -= 1.0
