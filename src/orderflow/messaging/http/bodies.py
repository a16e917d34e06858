"""Request bodies: JSON, limited while it streams, refused with a problem document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
from starlette.requests import Request
from starlette.types import Receive

from orderflow.messaging.http import problems
from orderflow.messaging.http.repeated_members import repeated_members
from orderflow.messaging.http.validation import ERRORS_MAX, FieldError, field_errors

T = TypeVar("T")

BODY_BYTES_MAX = 65_536


async def read_body(
    headers: Mapping[bytes, bytes], receive: Receive, *, limit: int = BODY_BYTES_MAX
) -> bytes:
    """
    The body of a request whose `headers` (lower case) are given.

    Raises a problem: 415 if it is not declared as JSON, 413 if it is longer than `limit` bytes,
    by its own account or in fact.
    """
    _demand_json(headers)
    return await _read(headers, receive, limit=limit)


def _demand_json(headers: Mapping[bytes, bytes]) -> None:
    media_type = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
    if media_type != b"application/json":
        raise problems.unsupported_media_type()


async def _read(headers: Mapping[bytes, bytes], receive: Receive, *, limit: int) -> bytes:
    # Unpacked, few bytes could become many: a body is limited as it comes.
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        raise problems.unsupported_encoding()

    # 18 digits at most: the header is anybody's, and a long integer is slow to parse.
    length = headers.get(b"content-length", b"0")
    if len(length) > 18 or int(length) > limit:
        raise problems.too_large(limit)

    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise problems.malformed("the client went away")
        body += message.get("body", b"")
        if len(body) > limit:
            raise problems.too_large(limit)
        if not message.get("more_body"):
            return bytes(body)


def decoded(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """
    The body as the decoder's type.

    Raises a problem: 400 if it is not JSON, 422 if it is not of that type or has a member twice,
    with all that is wrong.
    """
    try:
        value = decoder.decode(body)
        repeated = repeated_members(body)
    except msgspec.ValidationError as error:
        raise problems.invalid_fields(_all_errors(decoder.type, body, error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise problems.malformed(_why_not_json(body, error)) from error

    if repeated:
        raise problems.invalid_fields(repeated)
    return value


def _all_errors(wanted: Any, body: bytes, error: msgspec.ValidationError) -> list[FieldError]:
    try:
        repeated = repeated_members(body)
    except (ValueError, RecursionError):
        repeated = []
    # What is there twice may be wrong the first time only, which a decoder alone can tell.
    return [*repeated, *field_errors(wanted, body, error)][:ERRORS_MAX]


def _why_not_json(body: bytes, error: Exception) -> str:
    if not body.strip():
        return "the body is empty"
    if isinstance(error, UnicodeDecodeError):
        return "the body is not UTF-8"
    if isinstance(error, RecursionError):
        return "the body is nested too deeply"
    if str(error) == "Input data was truncated":
        return "the body ends before its JSON does"
    return str(error).removeprefix("JSON is malformed: ")


async def read_optional_json(
    request: Request, decoder: msgspec.json.Decoder[T], *, default: T, limit: int = BODY_BYTES_MAX
) -> T:
    """
    As `read_json`; `default` without a body, which the body itself shows: a proxy may send none in
    chunks, with a content type or without.
    """
    headers = dict(request.headers.raw)
    # Its length says nothing: proxies send what has no body as one chunk without a byte.
    body = await _read(headers, request.receive, limit=limit)
    if not body:
        return default
    _demand_json(headers)
    return decoded(decoder, body)


async def read_json(
    request: Request, decoder: msgspec.json.Decoder[T], *, limit: int = BODY_BYTES_MAX
) -> T:
    """The body of a Starlette request, as the decoder's type."""
    return decoded(
        decoder, await read_body(dict(request.headers.raw), request.receive, limit=limit)
    )
