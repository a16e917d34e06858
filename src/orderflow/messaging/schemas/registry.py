"""
The schema registry, by its Confluent-compatible HTTP interface.

One call is one request: the caller decides what to do while it waits, and a deployment's step
brings its patience. Only what the registry says in its own words counts: the JSON of a result, or
of an error with its `error_code`. Everything else is a registry in trouble, and Unavailable, or a
gateway's answer, and Unfit: a 404 in HTML does not say that a schema is missing, and is never a
record's fault. For a schema or subject that the registry does not have (40401 to 40403), the
result is None.

Services look schemas up; only the deploy step registers them.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Protocol, TypeVar
from urllib.parse import quote, urlsplit

import httpx2
import msgspec

from orderflow.messaging.error_text import error_text
from orderflow.messaging.errors import ConfigurationError, Incompatible, Unavailable, Unfit
from orderflow.messaging.http.client import BoundedClient
from orderflow.messaging.settings import RegistrySettings
from orderflow.messaging.work.patience import Patience

RESOURCE = "registry"
FULL_TRANSITIVE = "FULL_TRANSITIVE"
SHOWN_BYTES_MAX = 200

_CONTENT_TYPE = {"Content-Type": "application/vnd.schemaregistry.v1+json"}
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


T = TypeVar("T")


class _Id(msgspec.Struct):
    id: int


class _Text(msgspec.Struct):
    schema: str


class _Level(msgspec.Struct, rename={"level": "compatibilityLevel"}):
    level: str


class _Refusal(msgspec.Struct):
    """The registry's own word about what it could not do. Its codes begin with the status."""

    error_code: int
    message: str = ""


class SchemaLookup(Protocol):
    """The part of a registry that services need: look-ups, no changes."""

    def schema_text(self, schema_id: int) -> str | None:
        """The writer's schema of records with this id; None if the registry has no such id."""

    def id_of(self, subject: str, text: str) -> int | None:
        """The id of this schema under this subject; None if it is not registered there."""


class Registry:
    """
    A connection to the registry. Threads may share it. The URL may contain user and password.

    Every request ends within `timeout_s`, connecting and the last byte included. A call is one
    request; with `patience`, as many as it takes while the registry is away: every one of them
    can be repeated. `transport` replaces the network in tests.
    """

    def __init__(
        self,
        settings: RegistrySettings,
        *,
        patience: Patience | None = None,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        self.url = settings.url.rstrip("/")
        self._patience = patience
        self._http = BoundedClient(
            within_s=settings.timeout_s,
            timeout=settings.timeout_s,
            transport=transport,
            # A proxy from the environment can't reach this machine's loopback.
            trust_env=urlsplit(self.url).hostname not in _LOOPBACK,
        )

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def schema_text(self, schema_id: int) -> str | None:
        """The writer's schema of records with this id; None if the registry has no such id."""
        answer = self._request(_Text, "GET", f"/schemas/ids/{schema_id}")
        return None if answer is None else answer.schema

    def id_of(self, subject: str, text: str) -> int | None:
        """The id of this schema under this subject; None if it is not registered there."""
        answer = self._request(_Id, "POST", f"/subjects/{_quoted(subject)}", {"schema": text})
        return None if answer is None else answer.id

    def versions(self, subject: str) -> list[int]:
        """The versions registered with a subject, oldest first; empty if it is unknown."""
        return self._request(list[int], "GET", f"/subjects/{_quoted(subject)}/versions") or []

    def compatibility(self, subject: str | None = None) -> str | None:
        """
        The subject's compatibility level, or the registry's default (None).

        For a subject without a level: None, or the default, as the registry does it.
        """
        answer = self._request(_Level, "GET", f"/config{_part(subject)}")
        return None if answer is None else answer.level

    def set_compatibility(self, level: str, subject: str | None = None) -> None:
        """Set the compatibility level of one subject, or the registry's default (None)."""
        self._request(dict, "PUT", f"/config{_part(subject)}", {"compatibility": level})

    def register(self, subject: str, text: str) -> int:
        """
        Register a schema and return its id; the same text again gives the same id.

        Raises Incompatible when the registry refuses it (409): it breaks a reader.
        """
        answer = self._request(
            _Id, "POST", f"/subjects/{_quoted(subject)}/versions", {"schema": text}
        )
        if answer is None:
            raise ConfigurationError(
                f"the registry at {self._shown} answers 404 to a registration: "
                "is the address right?"
            )
        return answer.id

    @property
    def _shown(self) -> str:
        return self.url.rpartition("@")[2]

    def _request(
        self, kind: type[T], method: str, path: str, body: dict[str, str] | None = None
    ) -> T | None:
        if self._patience is None:
            return self._request_once(kind, method, path, body)
        return self._patience.through(lambda: self._request_once(kind, method, path, body))

    def _request_once(
        self, kind: type[T], method: str, path: str, body: dict[str, str] | None
    ) -> T | None:
        """
        The registry's result as `kind`; None for what it does not have.

        Raises Incompatible (409) and ConfigurationError (422: it can't read what was sent) when
        the registry says so itself; Unavailable when it is in trouble (5xx, too busy) or does not
        answer; Unfit for every other answer.
        """
        what = f"{method} {path} at {self._shown}"
        try:
            response = self._http.request(
                method, self.url + path, json=body, headers=_CONTENT_TYPE if body else None
            )
        except httpx2.HTTPError as error:
            raise Unavailable(
                f"the registry did not answer {what}: {error_text(error)}",
                resource=RESOURCE,
                reason="does not answer",
            ) from error

        status = response.status_code
        if response.is_success:
            result = _decoded(kind, response)
            if result is None:
                raise Unfit(
                    f"{status} to {what} is not the registry's: {_begin(response)}; "
                    "is the address right?",
                    resource=RESOURCE,
                    reason=f"its answer {status} is not the registry's: is the address right?",
                )
            return result

        refusal = _decoded(_Refusal, response)
        if refusal is not None:
            if refusal.error_code in _UNKNOWN:
                return None
            if status == HTTPStatus.CONFLICT:
                raise Incompatible(f"the registry refused {what} with 409: {refusal.message}")
            if body and status == HTTPStatus.UNPROCESSABLE_ENTITY:
                raise ConfigurationError(f"the registry answered 422 to {what}: {refusal.message}")

        said = refusal.message if refusal is not None else _begin(response)
        advice = f"; {_ADVICE[status]}" if status in _ADVICE else ""
        in_trouble = response.is_server_error or status in _BUSY
        raise (Unavailable if in_trouble else Unfit)(
            f"the registry answered {status} to {what}: {said}{advice}",
            resource=RESOURCE,
            reason=f"answers {status}{advice}",
        )


def _part(subject: str | None) -> str:
    return "" if subject is None else f"/{_quoted(subject)}"


def _quoted(subject: str) -> str:
    return quote(subject, safe="")


def _decoded(kind: type[T], response: httpx2.Response) -> T | None:
    try:
        return msgspec.json.decode(response.content, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _begin(response: httpx2.Response) -> str:
    """The first words of an answer, on one line."""
    return " ".join(response.content[:SHOWN_BYTES_MAX].decode(errors="replace").split()) or "empty"


_UNKNOWN = {40401, 40402, 40403, 40408}
"""Subject, version, schema, or the subject's compatibility level not found."""

_BUSY = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS}

_ADVICE: dict[int, str] = {
    HTTPStatus.UNAUTHORIZED: "are user and password right?",
    HTTPStatus.FORBIDDEN: "are user and password right?",
    HTTPStatus.NOT_FOUND: "is the address right?",
}
