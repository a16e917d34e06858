"""
Objects of a bucket of any S3-compatible store that compares versions: `If-Match` and
`If-None-Match` of conditional writes. The one door to `obstore`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    NotFoundError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)
from obstore.store import S3Store

from orderflow.messaging.errors import ConfigurationError
from orderflow.services.lake.config import StoreSection
from orderflow.services.lake.store import Content, Version, away

if TYPE_CHECKING:
    from obstore.store import S3Config

RETRIES_MAX = 2
NO_BUCKET = "NoSuchBucket"
PROBE = ".probe"
NO_VERSION = f'"{"0" * 32}"'
"""An ETag that no object has."""


class BucketStore:
    """See `Store`. One request reads or writes an object, so it is there as a whole or not."""

    def __init__(self, bucket: str, prefix: str, section: StoreSection) -> None:
        secret = section.secret_access_key.get_secret_value()
        timeout = timedelta(seconds=section.timeout_s)
        config: S3Config = {"region": section.region}
        if section.endpoint:
            config["endpoint"] = section.endpoint
        if section.access_key_id:
            config["access_key_id"] = section.access_key_id
            config["secret_access_key"] = secret

        self._store = S3Store(
            bucket,
            prefix=prefix or None,
            config=config,
            client_options={
                "timeout": timeout,
                "connect_timeout": timeout,
                "allow_http": section.endpoint.startswith("http://"),
            },
            retry_config={
                "max_retries": RETRIES_MAX,
                "retry_timeout": timeout,
            },
        )

    def prepare(self) -> None:
        """
        Try that the store compares versions: with one that does not, two exporters lose rows.

        A bucket is its owner's: none is made. Raises ConfigurationError for such a store.
        """
        self.write(PROBE, b"", replacing=None)
        if self.write(PROBE, b"", replacing=None) or self.write(PROBE, b"", replacing=NO_VERSION):
            raise ConfigurationError(
                "ORDERFLOW_LAKE__STORE__URL: this store ignores the conditions of a write "
                "(If-Match, If-None-Match), so two exporters would lose rows: choose another"
            )

    def read(self, name: str) -> Content | None:
        with _translated():
            try:
                answer = obstore.get(self._store, name)
            except (FileNotFoundError, NotFoundError) as error:
                if _is_without_bucket(error):
                    raise
                return None
            return Content(bytes(answer.bytes()), answer.meta["e_tag"] or "")

    def write(self, name: str, body: bytes, *, replacing: Version | None) -> bool:
        with _translated():
            try:
                obstore.put(
                    self._store,
                    name,
                    body,
                    mode="create" if replacing is None else {"e_tag": replacing},
                    use_multipart=False,
                )
            except (AlreadyExistsError, PreconditionError):
                return False
            except (FileNotFoundError, NotFoundError) as error:
                # Of the version that was to be replaced, nothing is left.
                if replacing is None or _is_without_bucket(error):
                    raise
                return False

        return True

    def settle(self, name: str) -> None:
        """Nothing: what can be read is durable."""

    def versions(self, prefix: str) -> Mapping[str, Version]:
        with _translated():
            return {
                meta["path"]: meta["e_tag"] or ""
                for page in obstore.list(self._store, prefix)
                for meta in page
            }


@contextmanager
def _translated() -> Iterator[None]:
    """What the store or the way to it says, as Unavailable; its words are for the log alone."""
    try:
        yield
    except (BaseError, OSError) as error:
        # The client's text quotes addresses: its kind is enough.
        kind = type(error).__name__
        if _is_without_bucket(error):
            raise away("the bucket is not there", f"no such bucket ({kind})") from None
        if isinstance(error, (PermissionDeniedError, UnauthenticatedError)):
            raise away("access is denied", f"it denies access ({kind})") from None
        raise away("away", f"it can't be reached, or fails ({kind})") from None


def _is_without_bucket(error: Exception) -> bool:
    return any(NO_BUCKET in words for words in error.args if isinstance(words, str))
