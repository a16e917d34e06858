"""Keys are placed where Kafka's own producers place them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderflow.messaging.kafka.partitioner import murmur2, partition_of

# Apache Kafka, `UtilsTest.testMurmur2`: signed numbers, as Java writes them.
PUBLISHED = {
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}


@pytest.mark.parametrize(("key", "signed"), PUBLISHED.items())
def test_the_hash_is_the_one_that_kafka_publishes(key: bytes, signed: int) -> None:
    assert murmur2(key) == signed & 0xFFFFFFFF


def test_the_partition_is_of_the_positive_hash() -> None:
    """Java's `toPositive` clears the sign, it does not negate."""
    for key, signed in PUBLISHED.items():
        assert partition_of(key, 2**31) == signed & 0x7FFFFFFF


@given(st.binary(max_size=40), st.integers(1, 1_000))
def test_every_key_has_one_partition_below_their_number(key: bytes, partitions: int) -> None:
    partition = partition_of(key, partitions)
    assert 0 <= partition < partitions
    assert partition_of(bytes(bytearray(key)), partitions) == partition
    assert partition_of(key, 1) == 0


@given(st.binary(max_size=40))
def test_the_hash_has_32_bits(key: bytes) -> None:
    assert 0 <= murmur2(key) < 2**32


def test_many_keys_are_spread_over_all_partitions() -> None:
    counts = [0] * 12
    for number in range(12_000):
        counts[partition_of(b"customer-%d" % number, 12)] += 1
    assert min(counts) > 800
    assert max(counts) < 1_200
