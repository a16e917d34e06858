"""A set of facts on its changelog: what is written is what is read, in records that fit."""

from __future__ import annotations

from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from orderflow.messaging.streams.changelog import (
    FACT_BYTES,
    FACTS_MAX,
    fact_bytes,
    facts_of,
    facts_records,
)

BROKERS_LIMIT = 1_048_576
"""Bytes in one record, where nobody has set a topic's `max.message.bytes`."""


@given(st.lists(st.uuids(), max_size=50))
def test_facts_are_read_as_they_were_written(facts: list[UUID]) -> None:
    coded = [fact_bytes(fact) for fact in facts]
    records = facts_records(coded)
    assert [fact for _key, value in records for fact in facts_of(value)] == coded
    assert all(len(fact) == FACT_BYTES for fact in coded)
    assert [UUID(bytes=fact) for fact in coded] == facts


def test_many_facts_are_few_records_of_which_each_fits() -> None:
    facts = [number.to_bytes(FACT_BYTES, "big") for number in range(FACTS_MAX + 1)]
    records = facts_records(facts)
    assert [len(facts_of(value)) for _key, value in records] == [FACTS_MAX, 1]
    assert all(len(key) + len(value) < BROKERS_LIMIT for key, value in records)
    assert [fact for _key, value in records for fact in facts_of(value)] == facts


def test_no_facts_are_no_record() -> None:
    """An empty value would say that all facts before it are forgotten."""
    assert facts_records([]) == []


def test_compaction_keeps_every_record_because_no_two_have_one_key() -> None:
    keys = [facts_records([bytes(FACT_BYTES)])[0][0] for _ in range(1_000)]
    assert len(set(keys)) == 1_000
