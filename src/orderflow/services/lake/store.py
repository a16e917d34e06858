"""
Where the objects are, as a protocol. Two writers of one object can't lose each other's rows: who
writes names the version that was read, and a version that is not the present one is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import msgspec

from orderflow.messaging.errors import Unavailable

RESOURCE = "store"
"""As gates, reasons and metrics name it."""

Version = str
"""Of an object: another one after each write."""


class Content(msgspec.Struct, frozen=True):
    """An object as it was read."""

    body: bytes
    version: Version


class Store(Protocol):
    """
    A folder of objects. An object is there as a whole or not at all, and what was written is
    durable when `write` returns. Whatever time heals is raised as Unavailable.
    """

    def prepare(self) -> None:
        """Make sure that objects can be written; repeated, it changes nothing."""

    def read(self, name: str) -> Content | None:
        """The object, or None if there is none."""

    def write(self, name: str, body: bytes, *, replacing: Version | None) -> bool:
        """
        Put `body` in the place of that version; None: of nothing. False, and nothing is changed, if
        the object is another one by now.
        """

    def settle(self, name: str) -> None:
        """Make durable what `read` has shown: its writer may have been killed just before."""

    def versions(self, prefix: str) -> Mapping[str, Version]:
        """Every object whose name begins with the folder `prefix`, by its name."""


def away(reason: str, why: str) -> Unavailable:
    """`reason` is for everybody; `why`, which may quote a server, for the log."""
    return Unavailable(f"the lake's store: {why}", resource=RESOURCE, reason=reason)
