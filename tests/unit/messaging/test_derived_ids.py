"""Derived ids: the same again, never another's, and in the order of their parents."""

from __future__ import annotations

from uuid import UUID, uuid5

import pytest
from hypothesis import given
from hypothesis import strategies as st
from uuid_utils.compat import uuid7

from orderflow.messaging.derived_ids import DerivedIds

NAMESPACE = UUID(int=1)
IDS = DerivedIds(NAMESPACE)
PARENT = "0198a0b2-0000-7000-8000-000000000001"


@given(st.uuids(), st.text())
def test_a_derived_id_is_a_uuid_that_begins_as_its_parent(parent: UUID, name: str) -> None:
    derived = IDS.make(str(parent), name)
    assert derived == IDS.make(str(parent), name) == str(UUID(derived))
    assert (UUID(derived).version, UUID(derived).int >> 80) == (8, parent.int >> 80)


def test_another_name_is_another_id_also_in_the_same_millisecond() -> None:
    assert len({IDS.make(PARENT, f"{PARENT}/{number}") for number in range(10_000)}) == 10_000


def test_all_but_the_time_and_the_version_is_the_names_sha_1() -> None:
    derived, named = UUID(IDS.make(PARENT, "name")), uuid5(NAMESPACE, "name")
    mask = (1 << 76) - 1
    assert derived.int & mask == named.int & mask


def test_what_follows_from_later_ids_comes_later_however_far_it_is_down_the_chain() -> None:
    early = late = str(uuid7())
    while late[:13] == early[:13]:
        late = str(uuid7())
    for generation in range(5):
        early, late = (IDS.make(parent, f"{parent}/{generation}") for parent in (early, late))
        assert early < late


@pytest.mark.parametrize("parent", ["", "order-1", "x" * 36, PARENT + "0", PARENT.replace("-", "")])
def test_under_a_parent_that_is_no_uuid_it_is_the_names_own(parent: str) -> None:
    assert IDS.make(parent, "name") == str(uuid5(NAMESPACE, "name"))
