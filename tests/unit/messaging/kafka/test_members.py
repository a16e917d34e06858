"""Who has which partition, as the members' assignments say in the consumer protocol's bytes."""

from __future__ import annotations

import struct
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderflow.messaging.kafka.groups import Members


def assignment(
    topics: dict[str, list[int]], *, version: int = 3, user: bytes | None = b""
) -> bytes:
    """As Kafka's `ConsumerProtocolAssignment` is written."""
    data = struct.pack(">hi", version, len(topics))
    for topic, numbers in topics.items():
        name = topic.encode()
        data += struct.pack(">h", len(name)) + name
        data += struct.pack(f">i{len(numbers)}i", len(numbers), *numbers)
    return data + (struct.pack(">i", -1) if user is None else struct.pack(">i", len(user)) + user)


def members(*described: tuple[str, bytes | None]) -> dict[tuple[str, int], str]:
    group = SimpleNamespace(
        members=[
            SimpleNamespace(client_id=client_id, assignment=data) for client_id, data in described
        ]
    )
    # Without a client: only what the brokers answer matters here.
    group_members: Any = Members.__new__(Members)
    group_members._group = "group"
    group_members._admin = SimpleNamespace(list_groups=lambda _group, _timeout: [group])
    assigned: dict[tuple[str, int], str] = group_members.assigned()
    return assigned


def test_each_partition_has_the_client_id_of_its_member() -> None:
    assert members(
        ("a@http://one:1", assignment({"sales": [0, 2], "by-shop": [1]})),
        ("b@http://two:2", assignment({"sales": [1]})),
    ) == {
        ("sales", 0): "a@http://one:1",
        ("sales", 2): "a@http://one:1",
        ("by-shop", 1): "a@http://one:1",
        ("sales", 1): "b@http://two:2",
    }


@pytest.mark.parametrize("nothing", [None, b"", b"\0", b"\0\0\0\0\0", assignment({})])
def test_a_member_without_an_assignment_has_nothing(nothing: bytes | None) -> None:
    assert members(("a", nothing), ("b", assignment({"t": [7]}))) == {("t", 7): "b"}


@pytest.mark.parametrize("user", [None, b"", b"sticky \0\xff bytes"])
@pytest.mark.parametrize("version", [0, 1, 3])
def test_neither_the_version_nor_what_an_assignor_adds_is_read(
    version: int, user: bytes | None
) -> None:
    data = assignment({"t": [0]}, version=version, user=user)
    assert members(("a", data)) == {("t", 0): "a"}


topics = st.dictionaries(
    st.text(min_size=1, max_size=20), st.lists(st.integers(0, 2**31 - 1), unique=True, max_size=5)
)


@given(topics)
def test_what_is_assigned_is_what_is_read(assigned: dict[str, list[int]]) -> None:
    places = {(topic, number) for topic, numbers in assigned.items() for number in numbers}
    assert set(members(("a", assignment(assigned)))) == places


def test_bytes_that_lead_back_to_themselves_have_an_end() -> None:
    foreign = struct.pack(">hihi", 3, 2**31 - 1, -6, 0)
    assert members(("foreign", foreign), ("b", assignment({"mine": [7]}))) == {("mine", 7): "b"}


@given(topics, st.integers(0, 200), st.binary(max_size=30))
def test_an_assignment_of_another_protocol_names_nobody_and_stops_nobody(
    assigned: dict[str, list[int]], end: int, garbage: bytes
) -> None:
    """Any assignor may write what it likes; the other members are still known."""
    data = assignment(assigned)
    for foreign in (garbage, data[:end]):
        said = members(("foreign", foreign), ("b", assignment({"mine": [7]})))
        assert said["mine", 7] == "b"
