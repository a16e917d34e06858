"""`orderflow tail`: committed records as they are, whatever they hold."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from uuid import uuid4

import msgspec
import pytest
from tests.support import records
from tests.support.examples import ORDER_CREATED
from tests.support.kafka_tools import orderflow
from tests.support.stack import Stack

from orderflow.contracts.schemas import CATALOGUE
from orderflow.contracts.topics import ORDERS
from orderflow.messaging.kafka.admin import Admin, apply, plan
from orderflow.messaging.kafka.clients import Producer, producer, transactional_producer
from orderflow.messaging.kafka.topics import TopicSettings
from orderflow.messaging.schemas import registration
from orderflow.messaging.schemas.avro import Encoder
from orderflow.messaging.schemas.registry import Registry
from orderflow.messaging.settings import KafkaSettings, RegistrySettings

KEY = ORDER_CREATED.order_id
HEADERS = records.headers(ORDER_CREATED)


@pytest.fixture(scope="module")
def topic(stack: Stack) -> str:
    """
    A topic with: a good record, junk, a null; one in an aborted transaction; one in a committed
    one.
    """
    name = f"tail-{uuid4().hex[:8]}"
    kafka = KafkaSettings(bootstrap_servers=stack.bootstrap_servers)
    admin, settings = Admin(kafka), TopicSettings()
    apply(plan([msgspec.structs.replace(ORDERS, name=name, partitions=1)], admin, settings), admin)
    registry = Registry(RegistrySettings(url=stack.registry_url))
    registration.apply(CATALOGUE, registry)
    value = Encoder.load(registry, CATALOGUE).encode("orders", ORDER_CREATED)
    registry.close()

    plain, transactional = producer(kafka), transactional_producer(kafka, name)
    plain.produce(name, key=KEY, value=value, headers=HEADERS)
    plain.produce(name, key=b"\xff", value=b"junk")
    plain.produce(name, key="nothing", value=None)
    plain.flush(10)
    transactional.init_transactions(30)
    in_transaction(transactional, name, "aborted", value).abort_transaction(10)
    in_transaction(transactional, name, "committed", value).commit_transaction(10)
    return name


def in_transaction(client: Producer, name: str, key: str, value: bytes) -> Producer:
    client.begin_transaction()
    client.produce(name, key=key, value=value, headers=HEADERS)
    client.flush(10)
    return client


def tail(stack: Stack, topic: str, *options: str) -> list[dict[str, object]]:
    done = orderflow(stack, "tail", topic, "--from-beginning", "--json", *options)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_committed_records_are_shown_and_aborted_ones_are_not(stack: Stack, topic: str) -> None:
    assert [record["key"] for record in tail(stack, topic, "--no-follow")] == [
        KEY,
        "\\xff",
        "nothing",
        "committed",
    ]


def test_a_record_is_shown_with_place_key_headers_and_decoded_value(
    stack: Stack, topic: str
) -> None:
    (record,) = tail(stack, topic, "--max", "1")
    assert (record["topic"], record["partition"], record["offset"], record["key"]) == (
        topic,
        0,
        0,
        KEY,
    )
    assert record["headers"] == {
        name: value.decode() for name, value in HEADERS if isinstance(value, bytes)
    }
    assert msgspec.convert(record["value"], type(ORDER_CREATED)) == ORDER_CREATED


def test_what_cannot_be_decoded_is_shown_as_such(stack: Stack, topic: str) -> None:
    _, junk, null, _ = tail(stack, topic, "--no-follow")
    assert (junk["value"], null["value"]) == (None, None)
    assert "Confluent's frame" in str(junk["problem"])
    assert null["problem"] == "the record has no value"
    shown = orderflow(stack, "tail", topic, "--from-beginning", "--no-follow").stdout
    assert "undecodable: the value does not begin with Confluent's frame" in shown
    assert "ce_id=" in shown


def test_only_records_of_the_key_are_shown(stack: Stack, topic: str) -> None:
    assert [
        record["offset"] for record in tail(stack, topic, "--no-follow", "--key", "nothing")
    ] == [2]


def places(stack: Stack, topic: str, *options: str) -> list[object]:
    done = orderflow(stack, "tail", topic, "--json", *options)
    assert done.returncode == 0, done.stderr
    return [json.loads(line)["offset"] for line in done.stdout.splitlines()]


def test_the_last_records_are_shown_whatever_markers_lie_between_them(
    stack: Stack, topic: str
) -> None:
    everything = places(stack, topic, "--from-beginning", "--no-follow")
    assert places(stack, topic, "--last", "2") == everything[-2:]
    assert places(stack, topic, "--last", "1", "--key", "nothing") == [2]
    assert places(stack, topic, "--last", "99") == everything


def test_it_starts_at_an_offset_at_a_place_and_at_a_time(stack: Stack, topic: str) -> None:
    everything = places(stack, topic, "--from-beginning", "--no-follow")
    assert places(stack, topic, "--offset", "1", "--max", "2") == [1, 2]
    assert places(stack, f"{topic}-0@2") == [2]
    assert places(stack, topic, "--since", "1d", "--no-follow", "-p", "0") == everything
    assert places(stack, topic, "--since", "2199-01-01", "--no-follow") == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--partition", "7", "--last", "1"), "has no partition 7: it has 0 to 0"),
        (("--partition", "7", "--from-beginning"), "has no partition 7: it has 0 to 0"),
        (("--offset", "9999"), "has no offset 9999 yet; its partitions end so: 0 at "),
        (("--offset", "1", "--last", "1"), "say one of --from-beginning, --offset, --since and"),
    ],
)
def test_what_is_not_there_is_refused_with_what_is(
    stack: Stack, topic: str, options: tuple[str, ...], words: str
) -> None:
    done = orderflow(stack, "tail", topic, *options)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert words in done.stderr


def test_an_unknown_topic_is_refused_with_names_that_are_near_it(stack: Stack, topic: str) -> None:
    done = orderflow(stack, "tail", topic[:-1])
    assert done.returncode == 2
    assert f"there is no topic '{topic[:-1]}'; near it: " in done.stderr
    assert topic in done.stderr


def test_a_topic_that_does_not_exist_is_one_line_and_an_exit_code(stack: Stack) -> None:
    done = orderflow(stack, "tail", "no-such-topic")
    assert done.returncode != 0
    assert "no-such-topic" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_ctrl_c_ends_it_cleanly_once_it_follows(stack: Stack, topic: str) -> None:
    command = [
        sys.executable,
        "-m",
        "orderflow.cli.main",
        "tail",
        topic,
        "--from-beginning",
        "--json",
    ]
    with subprocess.Popen(
        command,
        env=stack.service_environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        lines = [process.stdout.readline() for _ in range(4)]
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
        assert process.stderr.read() == "ended\n"
    assert json.loads(lines[-1])["key"] == "committed"
