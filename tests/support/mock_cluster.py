"""
librdkafka's own mock cluster, in this process, with faults on demand: what no real broker does
when one wants it.

The client's wheel carries a librdkafka that exports it; we call that very library. It shows how
the *client* takes an answer. It does not fence epochs, filter aborted records or keep anything:
such things are proved on the real broker.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from enum import IntEnum
from functools import cache
from pathlib import Path

import confluent_kafka
import pytest

BROKER = 1
_PRODUCER = 0


class Api(IntEnum):
    """Kafka's numbers for the requests of a transaction."""

    PRODUCE = 0
    OFFSET_COMMIT = 8
    OFFSET_FETCH = 9
    FIND_COORDINATOR = 10
    HEARTBEAT = 12
    INIT_PRODUCER_ID = 22
    ADD_PARTITIONS_TO_TXN = 24
    ADD_OFFSETS_TO_TXN = 25
    END_TXN = 26
    TXN_OFFSET_COMMIT = 28


class MockCluster:
    """One broker. Faults are answers to the next requests of a kind, in order, once each."""

    def __init__(self) -> None:
        librdkafka = library()
        reason = ctypes.create_string_buffer(512)
        settings = librdkafka.rd_kafka_conf_new()  # The handle that is made of it owns it.
        librdkafka.rd_kafka_conf_set(settings, b"log_level", b"0", reason, len(reason))
        self._handle = librdkafka.rd_kafka_new(_PRODUCER, settings, reason, len(reason))
        assert self._handle, f"librdkafka made no handle: {reason.value.decode()}"
        self._cluster = librdkafka.rd_kafka_mock_cluster_new(self._handle, 1)
        assert self._cluster, "librdkafka made no mock cluster"

    @property
    def bootstrap_servers(self) -> str:
        servers: bytes = library().rd_kafka_mock_cluster_bootstraps(self._cluster)
        return servers.decode()

    def create_topic(self, name: str, partitions: int = 1) -> None:
        code = library().rd_kafka_mock_topic_create(self._cluster, name.encode(), partitions, 1)
        assert code == 0, f"mock topic {name}: error {code}"

    def fail(self, api: Api, *codes: int) -> None:
        """
        The next requests of this kind are answered with these error codes; `_TRANSPORT` breaks the
        connection.
        """
        errors = (ctypes.c_int * len(codes))(*codes)
        library().rd_kafka_mock_push_request_errors_array(self._cluster, api, len(codes), errors)

    def delay(self, api: Api, delay_ms: int) -> None:
        """The next request of this kind is answered well, but late."""
        # Variadic: each argument needs its C type.
        code = library().rd_kafka_mock_broker_push_request_error_rtts(
            ctypes.c_void_p(self._cluster),
            ctypes.c_int32(BROKER),
            ctypes.c_int16(api),
            ctypes.c_size_t(1),
            ctypes.c_int(0),
            ctypes.c_int(delay_ms),
        )
        assert code == 0, f"mock delay of {api.name}: error {code}"

    def down(self) -> None:
        """Every connection breaks, and no new one is taken."""
        assert library().rd_kafka_mock_broker_set_down(self._cluster, BROKER) == 0

    def up(self) -> None:
        assert library().rd_kafka_mock_broker_set_up(self._cluster, BROKER) == 0

    def watch(self) -> None:
        """Forget the requests so far; `requests` has those from here on."""
        library().rd_kafka_mock_start_request_tracking(self._cluster)

    def requests(self) -> list[int]:
        """The kinds of the requests since `watch`, in their order."""
        librdkafka, count = library(), ctypes.c_size_t()
        requests = librdkafka.rd_kafka_mock_get_requests(self._cluster, ctypes.byref(count))
        kinds = [
            librdkafka.rd_kafka_mock_request_api_key(requests[number])
            for number in range(count.value)
        ]
        librdkafka.rd_kafka_mock_request_destroy_array(requests, count)
        return kinds

    def close(self) -> None:
        library().rd_kafka_mock_cluster_destroy(self._cluster)
        library().rd_kafka_destroy(self._handle)


@pytest.fixture
def mock_cluster() -> Iterator[MockCluster]:
    """One for each test: faults that were not met must not meet another test."""
    cluster = MockCluster()
    yield cluster
    cluster.close()


@cache
def library() -> ctypes.CDLL:
    """
    librdkafka as the client's wheel carries it; functions that take a variable number of arguments
    are untyped.
    """
    assert confluent_kafka.__file__ is not None
    carried = Path(confluent_kafka.__file__).parent.with_name("confluent_kafka.libs")
    (path,) = carried.glob("librdkafka-*.so*")
    loaded = ctypes.CDLL(str(path))
    pointer, text = ctypes.c_void_p, ctypes.c_char_p
    for name, result, *arguments in (
        ("rd_kafka_conf_new", pointer),
        ("rd_kafka_conf_set", ctypes.c_int, pointer, text, text, text, ctypes.c_size_t),
        ("rd_kafka_new", pointer, ctypes.c_int, pointer, text, ctypes.c_size_t),
        ("rd_kafka_destroy", None, pointer),
        ("rd_kafka_produceva", pointer, pointer, pointer, ctypes.c_size_t),
        ("rd_kafka_flush", ctypes.c_int, pointer, ctypes.c_int),
        ("rd_kafka_mock_cluster_new", pointer, pointer, ctypes.c_int),
        ("rd_kafka_mock_cluster_destroy", None, pointer),
        ("rd_kafka_mock_cluster_bootstraps", text, pointer),
        ("rd_kafka_mock_topic_create", ctypes.c_int, pointer, text, ctypes.c_int, ctypes.c_int),
        (
            "rd_kafka_mock_push_request_errors_array",
            None,
            *(pointer, ctypes.c_int16, ctypes.c_size_t, ctypes.POINTER(ctypes.c_int)),
        ),
        ("rd_kafka_mock_start_request_tracking", None, pointer),
        (
            "rd_kafka_mock_get_requests",
            *(ctypes.POINTER(pointer), pointer, ctypes.POINTER(ctypes.c_size_t)),
        ),
        ("rd_kafka_mock_request_api_key", ctypes.c_int16, pointer),
        (
            "rd_kafka_mock_request_destroy_array",
            *(None, ctypes.POINTER(pointer), ctypes.c_size_t),
        ),
        ("rd_kafka_mock_broker_set_down", ctypes.c_int, pointer, ctypes.c_int32),
        ("rd_kafka_mock_broker_set_up", ctypes.c_int, pointer, ctypes.c_int32),
    ):
        function = getattr(loaded, name)
        function.restype, function.argtypes = result, arguments
    return loaded
