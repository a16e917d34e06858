"""
The schema registry, by its Confluent-compatible HTTP interface.

One call is one request, without retries: the caller decides what to do while it waits. A registry
that can't be reached, or answers 5xx or 429, is Unavailable: that is never a record's fault. For a
schema or subject that the registry does not have, the result is None.

Services look schemas up; only the deploy step registers them.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Protocol
from urllib.parse import quote, urlsplit

import httpx2

from orderflow.messaging.errors import ConfigurationError, Incompatible, Unavailable
from orderflow.messaging.settings import RegistrySettings

RESOURCE = "registry"
FULL_TRANSITIVE = "FULL_TRANSITIVE"

_CONTENT_TYPE = {"Content-Type": "application/vnd.schemaregistry.v1+json"}
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


class SchemaLookup(Protocol):
    """The part of a registry that services need: look-ups, no changes."""

    def schema_text(self, schema_id: int) -> str | None:
        """The writer's schema of records with this id; None if the registry has no such id."""

    def id_of(self, subject: str, text: str) -> int | None:
        """The id of this schema under this subject; None if it is not registered there."""


class Registry:
    """
    A connection to the registry. Threads may share it. The URL may contain user and password.

    `transport` replaces the network in tests.
    """

    def __init__(
        self, settings: RegistrySettings, *, transport: httpx2.BaseTransport | None = None
    ) -> None:
        self.url = settings.url.rstrip("/")
        self._http = httpx2.Client(
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
        answer = self._request("GET", f"/schemas/ids/{schema_id}")
        return None if answer is None else str(answer["schema"])

    def id_of(self, subject: str, text: str) -> int | None:
        """The id of this schema under this subject; None if it is not registered there."""
        answer = self._request("POST", f"/subjects/{quote(subject, safe='')}", {"schema": text})
        return None if answer is None else int(answer["id"])

    def versions(self, subject: str) -> list[int]:
        """The versions registered with a subject, oldest first; empty if it is unknown."""
        return list(self._request("GET", f"/subjects/{quote(subject, safe='')}/versions") or ())

    def compatibility(self, subject: str | None = None) -> str | None:
        """
        The subject's compatibility level, or the registry's default (None).

        For a subject without a level: None, or the default, as the registry does it.
        """
        answer = self._request("GET", f"/config{_part(subject)}")
        return None if answer is None else str(answer["compatibilityLevel"])

    def set_compatibility(self, level: str, subject: str | None = None) -> None:
        """Set the compatibility level of one subject, or the registry's default (None)."""
        self._request("PUT", f"/config{_part(subject)}", {"compatibility": level})

    def register(self, subject: str, text: str) -> int:
        """
        Register a schema and return its id; the same text again gives the same id.

        Raises Incompatible when the registry refuses it (409): it breaks a reader.
        """
        answer = self._request(
            "POST", f"/subjects/{quote(subject, safe='')}/versions", {"schema": text}
        )
        if answer is None:
            raise ConfigurationError(
                f"the registry at {self._shown} answers 404 to a registration: "
                "is the address right?"
            )
        return int(answer["id"])

    @property
    def _shown(self) -> str:
        return self.url.rpartition("@")[2]

    def _request(self, method: str, path: str, body: dict[str, str] | None = None) -> Any:
        what = f"{method} {path} at {self._shown}"
        try:
            response = self._http.request(
                method, self.url + path, json=body, headers=_CONTENT_TYPE if body else None
            )
        except httpx2.TransportError as error:
            raise Unavailable(
                f"the registry did not answer {what}: {error!r}", resource=RESOURCE
            ) from error

        status = response.status_code
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.TOO_MANY_REQUESTS:
            raise Unavailable(f"the registry answered {status} to {what}", resource=RESOURCE)
        if status == HTTPStatus.NOT_FOUND:
            return None
        if status == HTTPStatus.CONFLICT:
            raise Incompatible(f"the registry refused {what} with 409: {_message(response)}")
        if not response.is_success:
            raise ConfigurationError(
                f"the registry answered {status} to {what}: {_message(response)}"
            )
        return response.json()


def _part(subject: str | None) -> str:
    return "" if subject is None else f"/{quote(subject, safe='')}"


def _message(response: httpx2.Response) -> str:
    try:
        return str(response.json()["message"])
    except (ValueError, KeyError, TypeError):
        return response.text[:200]
