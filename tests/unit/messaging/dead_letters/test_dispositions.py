"""Dispositions on the wire: what was written is read again, and nothing anybody wrote raises."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderflow.messaging.dead_letters.dispositions import (
    TEXT_MAX,
    Disposition,
    DispositionKind,
    disposition_bytes,
    disposition_record,
    read_disposition,
)
from orderflow.messaging.dead_letters.letter_place import LetterId, letter_id_of
from orderflow.messaging.errors import ConfigurationError

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
AT = datetime(2026, 1, 31, 9, 5, 0, 123_000, tzinfo=UTC)
REPLAYED = Disposition(
    kind=DispositionKind.REPLAYED,
    by="ada",
    reason="the catalogue is mended",
    at=AT,
    replays=1,
    replayed_to="orders.payment-service.replay",
)


@given(
    st.builds(
        Disposition,
        kind=st.sampled_from(DispositionKind),
        by=st.text(max_size=50),
        reason=st.text(max_size=50),
        at=st.integers(0, 250_000_000_000_000).map(lambda ms: EPOCH + timedelta(milliseconds=ms)),
        replays=st.integers(0, 10**9),
        replayed_to=st.none() | st.text(max_size=50),
    )
)
def test_what_was_written_is_read_again(disposition: Disposition) -> None:
    assert read_disposition(disposition_bytes(disposition)) == disposition


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_are_a_disposition(value: bytes) -> None:
    """A record with a value closes its letter, whoever wrote it."""
    assert read_disposition(value).kind in DispositionKind


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"replayed",
        b"{}",
        b'{"kind":"POSTPONED","by":"a"}',
        b'{"kind":"REPLAYED","at":"yesterday"}',
        b'{"kind":"REPLAYED","at":"0001-01-01T00:00:00+14:00"}',
        b'{"kind":7}',
    ],
)
def test_what_cannot_be_read_is_of_another_kind(value: bytes) -> None:
    assert read_disposition(value).kind is DispositionKind.OTHER


def test_a_newer_versions_fields_are_ignored_and_missing_ones_are_empty() -> None:
    assert read_disposition(
        b'{"kind":"DISCARDED","ticket":4,"at":"2026-01-31T10:05:00.123+01:00"}'
    ) == Disposition(kind=DispositionKind.DISCARDED, at=AT)


def test_a_time_is_utc_on_the_wire_and_long_texts_are_cut() -> None:
    elsewhere = AT.astimezone(timezone(timedelta(hours=5)))
    long = Disposition(kind=DispositionKind.DISCARDED, reason="x" * 5_000, at=elsewhere)
    read = read_disposition(disposition_bytes(long))
    assert (read.at, read.at.tzinfo, len(read.reason)) == (AT, UTC, TEXT_MAX)
    no_text = Disposition(kind=DispositionKind.DISCARDED, reason="caf\udce9", at=AT)
    assert read_disposition(disposition_bytes(no_text)).reason == r"caf\udce9"


def test_its_record_has_the_letters_place_as_key() -> None:
    letter_id = LetterId("orders.payment-service.dlt", 0, 12)
    topic, key, value, headers = disposition_record("decided", letter_id, REPLAYED)
    assert (topic, key, headers) == ("decided", b"orders.payment-service.dlt/0/12", [])
    assert value is not None
    assert read_disposition(value) == REPLAYED


@given(
    st.builds(
        LetterId,
        st.from_regex(r"[A-Za-z0-9._-]{1,249}", fullmatch=True),
        st.integers(0, 10**9 - 1),
        st.integers(0, 10**18 - 1),
    )
)
def test_a_letters_name_is_read_as_it_is_written(letter_id: LetterId) -> None:
    assert LetterId.parse(f" {letter_id}\n") == letter_id
    assert letter_id_of(str(letter_id).encode()) == letter_id


@pytest.mark.parametrize(
    "text", ["", "orders/0", "orders/0/x", "orders/0/-1", "a b/0/1", "9" * 5_000]
)
def test_what_is_no_name_is_refused_with_the_form(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"orders\.payment-service\.dlt/0/12"):
        LetterId.parse(text)


@given(st.none() | st.binary(max_size=60))
def test_a_key_that_names_no_letter_names_none(key: bytes | None) -> None:
    letter_id = letter_id_of(key)
    assert letter_id is None or str(letter_id_of(str(letter_id).encode())) == str(letter_id)
