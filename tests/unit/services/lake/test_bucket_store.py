"""A bucket as a store: what its client says, in words of ours; the real server is in the kills."""

from __future__ import annotations

from collections.abc import Callable

import obstore
import pytest
from obstore.exceptions import (
    AlreadyExistsError,
    GenericError,
    PermissionDeniedError,
    PreconditionError,
)
from pydantic import SecretStr

from orderflow.messaging.errors import ConfigurationError, Unavailable
from orderflow.services.lake.config import StoreSection
from orderflow.services.lake.s3_store import BucketStore

SECTION = StoreSection(
    endpoint="http://127.0.0.1:1", access_key_id="a", secret_access_key=SecretStr("b")
)


@pytest.fixture
def store() -> BucketStore:
    return BucketStore("lake", "below", SECTION)


def answering(error: Exception | None) -> Callable[..., object]:
    def answer(*_arguments: object, **_options: object) -> object:
        if error is not None:
            raise error
        return {"e_tag": "x", "version": None}

    return answer


def test_a_store_that_ignores_conditions_is_refused_at_start(
    store: BucketStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(obstore, "put", answering(None))
    with pytest.raises(ConfigurationError, match="If-None-Match"):
        store.prepare()


@pytest.mark.parametrize("error", [AlreadyExistsError("x"), PreconditionError("x")])
def test_a_store_that_compares_is_taken(
    store: BucketStore, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(obstore, "put", answering(error))
    store.prepare()
    assert not store.write("object", b"x", replacing=None)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (GenericError("at http://10.0.0.7/lake: NoSuchBucket"), "the bucket is not there"),
        (FileNotFoundError("<Code>NoSuchBucket</Code>"), "the bucket is not there"),
        (PermissionDeniedError("of user 7"), "access is denied"),
        (GenericError("http://10.0.0.7/lake timed out"), "away"),
    ],
)
def test_what_the_client_says_is_told_without_its_addresses(
    store: BucketStore, monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str
) -> None:
    for call in ("put", "get"):
        monkeypatch.setattr(obstore, call, answering(error))
    for act in (
        lambda: store.write("object", b"x", replacing=None),
        lambda: store.read("object"),
        store.prepare,
    ):
        with pytest.raises(Unavailable) as caught:
            act()
        assert (caught.value.resource, caught.value.reason) == ("store", reason)
        assert "10.0.0.7" not in str(caught.value)


def test_an_object_that_is_not_there_is_none(
    store: BucketStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(obstore, "get", answering(FileNotFoundError("<Code>NoSuchKey</Code>")))
    assert store.read("object") is None


def test_a_server_that_nobody_reaches_is_away(store: BucketStore) -> None:
    with pytest.raises(Unavailable) as caught:
        store.versions("payments")
    assert caught.value.reason == "away"
