"""Who gives a command, and why: what every record of an operator's or a clerk's act contains."""

from __future__ import annotations

from typing import Annotated, NewType

import msgspec
from msgspec import Meta
from starlette.requests import Request

from orderflow.messaging.http import problems
from orderflow.messaging.http.parameters import is_identifier

Actor = NewType("Actor", str)
"""The name of a person or a program; 1 to 64 characters, fit for logs."""

ACTOR_HEADER = "Orderflow-Actor"

ANONYMOUS = Actor("anonymous")

REASON_LENGTH_MAX = 500

Reason = Annotated[
    str, Meta(min_length=1, max_length=REASON_LENGTH_MAX, description="Why, for the record")
]


class ReasonRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The optional body of a command that needs nothing else."""

    reason: Reason | None = None


def actor_of(request: Request) -> Actor:
    """
    Who sends this request, by the request's own account; `anonymous` if it does not say.

    The header proves nothing. It is the one place that authentication will replace, so that the
    records that contain an actor need not change. Raises a problem (422) if the name is none.
    """
    name = request.headers.get(ACTOR_HEADER)
    if name is None:
        return ANONYMOUS
    if not is_identifier(name):
        raise problems.invalid(f"{ACTOR_HEADER} is a name of 1 to 64 characters, not {name!r}")
    return Actor(name)
