"""How commands ask an API of ours: one way to send, to read page by page, to word a refusal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any

import httpx2

from orderflow.cli.local import way_back
from orderflow.cli.output import printable
from orderflow.messaging.errors import OrderflowError
from orderflow.stack.addresses import api_url
from orderflow.stack.lifecycle import current

TIMEOUT_S = 20.0
PAGE = "100"


class NoAnswer(OrderflowError):
    """The API is not there, or was silent for 20 s."""


class Refused(OrderflowError):
    """
    The API answered with a refusal.

    `retry_after_s`: when the API says to ask again, in seconds; None if it does not say.
    """

    def __init__(self, message: str, status: int, retry_after_s: int | None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after_s = retry_after_s


class Api:
    """
    A service's API: at `url`, or of the local stack (`is_local`) if no url is given.

    Every call raises NoAnswer, in one line for whoever typed the command.
    """

    def __init__(self, service: str, url: str = "") -> None:
        self.service = service
        self.is_local = not url
        self.url = url or api_url(current(), service)

    def ask(
        self,
        method: str,
        path: str,
        *,
        parameters: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """The JSON of a success. Raises Refused in the problem's own words if it is none."""
        answer = self.send(method, path, parameters=parameters, body=body, headers=headers)
        return success(answer).json()

    def send(
        self,
        method: str,
        path: str,
        *,
        parameters: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx2.Response:
        """The answer, whatever its status."""
        try:
            return httpx2.request(
                method,
                f"{self.url}{path}",
                params=None if parameters is None else dict(parameters),
                json=body,
                headers=None if headers is None else dict(headers),
                timeout=TIMEOUT_S,
                trust_env=False,
                # Loading the certificates takes longer than most answers.
                verify=self.url.startswith("https:"),
            )
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            hint = f": {way_back()}" if self.is_local else ""
            raise NoAnswer(
                f"the {self.service} API at {self.url} did not answer "
                f"({error or type(error).__name__}){hint}"
            ) from error

    def items(
        self, path: str, parameters: Mapping[str, str] | None = None
    ) -> Iterator[dict[str, Any]]:
        """The items of a list, page by page, in the API's order."""
        query = {**(parameters or {}), "limit": PAGE}
        while True:
            page = self.ask("GET", path, parameters=query)
            yield from page["items"]
            if page["nextCursor"] is None:
                return
            query["cursor"] = page["nextCursor"]


def success(answer: httpx2.Response) -> httpx2.Response:
    """The answer. Raises Refused if it is no success."""
    if answer.is_success:
        return answer
    retry_after_s = _retry_after_s(answer)
    message = _refusal(answer)
    if answer.status_code == HTTPStatus.SERVICE_UNAVAILABLE and retry_after_s is not None:
        message += f"; wait {retry_after_s} s, then ask again"
    raise Refused(message, answer.status_code, retry_after_s)


def _refusal(answer: httpx2.Response) -> str:
    """The problem's title and detail; of any other body only that it came."""
    try:
        problem = answer.json()
        words = ": ".join([problem["title"], *filter(None, [problem.get("detail")])])
        # What there is none of is not named by the problem itself.
        where = answer.request.url.path if answer.status_code == HTTPStatus.NOT_FOUND else ""
        return printable(f"{words} ({where})" if where else words)
    except (ValueError, KeyError, TypeError):
        return f"{answer.request.url} answered {answer.status_code}"


def _retry_after_s(answer: httpx2.Response) -> int | None:
    text = answer.headers.get("retry-after", "")
    return int(text) if text.isascii() and text.isdigit() else None
