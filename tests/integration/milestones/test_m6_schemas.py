"""
Milestone 6: Avro schemas, registered; a backward-incompatible change is rejected at registration,
and by the offline check before that.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from shutil import copytree
from uuid import uuid4

import httpx2
import pytest
from tests.support.examples import ORDER_CREATED
from tests.support.kafka_tools import orderflow
from tests.support.order_service import order_service
from tests.support.stack import OwnStack, Stack

from orderflow.contracts.events import OrderCreated, OrderEvent
from orderflow.contracts.schemas import CATALOGUE, DIRECTORY
from orderflow.messaging.errors import Incompatible
from orderflow.messaging.kafka.reader import read
from orderflow.messaging.schemas import registration
from orderflow.messaging.schemas.avro import Decoder, Encoder
from orderflow.messaging.schemas.catalogue import CommittedSchema, SchemaCatalogue
from orderflow.messaging.schemas.registry import FULL_TRANSITIVE, Registry
from orderflow.messaging.settings import KafkaSettings, RegistrySettings
from orderflow.messaging.testing.eventually import eventually
from orderflow.messaging.testing.registry import InMemoryRegistry

TYPE = "orderflow.OrderCreated"
FIRST = CATALOGUE.versions(TYPE)[0]


@pytest.fixture
def registry(stack: Stack) -> Iterator[Registry]:
    with closing(Registry(RegistrySettings(url=stack.registry_url))) as connected:
        yield connected


@pytest.fixture
def topic() -> str:
    """A topic name of this test's own, so that its subject is fresh."""
    return f"orders-{uuid4().hex[:8]}"


def catalogue(topic: str, *texts: str) -> SchemaCatalogue:
    versions = [
        CommittedSchema(type_name=TYPE, version=number, text=text)
        for number, text in enumerate([FIRST.text, *texts], start=1)
    ]
    return SchemaCatalogue(versions, {topic: (TYPE,)})


def without(field: str) -> str:
    document = json.loads(FIRST.text)
    document["fields"] = [each for each in document["fields"] if each["name"] != field]
    return json.dumps(document)


def having(**field: object) -> str:
    document = json.loads(FIRST.text)
    document["fields"].append(field)
    return json.dumps(document)


REQUIRED = having(name="salesChannel", type="string")
OPTIONAL = having(name="salesChannel", type=["null", "string"], default=None)


def test_a_backward_incompatible_order_created_is_refused_at_registration_with_409(
    stack: Stack, registry: Registry, topic: str
) -> None:
    registration.apply(catalogue(topic), registry)
    answer = httpx2.post(
        f"{stack.registry_url}/subjects/{topic}-{TYPE}/versions", json={"schema": REQUIRED}
    )
    assert answer.status_code == 409
    with pytest.raises(Incompatible, match=f"{TYPE} version 2 is refused: .*409"):
        registration.apply(catalogue(topic, REQUIRED), registry)
    assert registry.versions(f"{topic}-{TYPE}") == [1]


def test_the_offline_check_names_the_field_and_the_reader_that_it_breaks(
    stack: Stack, tmp_path: Path
) -> None:
    schemas = copytree(DIRECTORY, tmp_path / "schemas")
    (schemas / "OrderCreated" / "2.avsc").write_text(REQUIRED)
    nowhere = "http://127.0.0.1:9"
    checked = orderflow(
        stack, "schemas", "check", "--schemas", str(schemas), ORDERFLOW_REGISTRY__URL=nowhere
    )
    assert checked.returncode == 1
    assert (
        f"{TYPE}: a reader of version 2 can't read what version 1 writes: field salesChannel:"
        " the writer does not "
        "write it, and the reader has no default for it"
    ) in checked.stderr
    assert orderflow(stack, "schemas", "check", ORDERFLOW_REGISTRY__URL=nowhere).returncode == 0


@pytest.mark.parametrize(
    "text", [REQUIRED, without("currency")], ids=["required field added", "field removed"]
)
def test_a_change_that_breaks_either_side_is_refused(
    registry: Registry, topic: str, text: str
) -> None:
    registration.apply(catalogue(topic), registry)
    with pytest.raises(Incompatible):
        registration.apply(catalogue(topic, text), registry)


def test_an_optional_field_is_accepted_and_old_and_new_read_each_other(
    registry: Registry, topic: str
) -> None:
    old, new = catalogue(topic), catalogue(topic, OPTIONAL)
    registration.apply(old, registry)
    before = Encoder.load(registry, old).encode(topic, ORDER_CREATED)
    registration.apply(new, registry)
    after = Encoder.load(registry, new).encode(topic, ORDER_CREATED)
    assert before[:5] != after[:5]
    for payload in (before, after):
        assert Decoder(registry).decode_as(payload, OrderCreated) == ORDER_CREATED


def test_full_transitive_is_set_on_every_subject_whatever_the_registry_s_default(
    registry: Registry, topic: str
) -> None:
    default = registry.compatibility()
    assert default is not None
    registry.set_compatibility("NONE")
    try:
        planned = registration.apply(catalogue(topic), registry)
        with pytest.raises(Incompatible):
            registration.apply(catalogue(topic, REQUIRED), registry)
    finally:
        registry.set_compatibility(default)
    assert planned.levels == {f"{topic}-{TYPE}": FULL_TRANSITIVE}


def test_a_lowered_level_is_found_and_set_again(registry: Registry, topic: str) -> None:
    registration.apply(catalogue(topic), registry)
    registry.set_compatibility("NONE", f"{topic}-{TYPE}")
    assert registration.apply(catalogue(topic), registry).levels == {
        f"{topic}-{TYPE}": FULL_TRANSITIVE
    }


def test_applying_again_changes_nothing(stack: Stack) -> None:
    first = orderflow(stack, "schemas", "apply", "--json")
    again = orderflow(stack, "schemas", "apply", "--json")
    assert (first.returncode, again.returncode) == (0, 0), first.stderr + again.stderr
    assert first.stdout == again.stdout
    assert orderflow(stack, "schemas", "plan", "--json").stdout == first.stdout


@pytest.mark.parametrize("kind", ["real", "in memory"])
def test_the_registry_in_memory_answers_as_the_real_one(
    registry: Registry, topic: str, kind: str
) -> None:
    answering = registry if kind == "real" else InMemoryRegistry()
    subject = f"{topic}-{TYPE}"
    assert answering.id_of(subject, FIRST.text) is None
    assert answering.schema_text(2**31 - 1) is None
    registered = answering.register(subject, FIRST.text)
    if isinstance(answering, Registry):
        answering.set_compatibility(FULL_TRANSITIVE, subject)
    assert (
        answering.register(subject, FIRST.text)
        == registered
        == answering.id_of(subject, FIRST.text)
    )
    assert answering.id_of(subject, json.dumps(json.loads(FIRST.text))) == registered
    text = answering.schema_text(registered)
    assert text is not None
    assert json.loads(text) == json.loads(FIRST.text)
    assert answering.register(f"other-{subject}", FIRST.text) == registered
    with pytest.raises(Incompatible):
        answering.register(subject, REQUIRED)
    assert answering.register(subject, OPTIONAL) != registered


@pytest.mark.timeout(180)
def test_a_registry_that_is_off_for_20_seconds_while_orders_are_placed_loses_nothing(
    own_stack: OwnStack, tmp_path: Path
) -> None:
    kafka = KafkaSettings(bootstrap_servers=own_stack.bootstrap_servers)
    with order_service(own_stack, tmp_path) as api:
        own_stack.stop("registry")
        placed: list[str] = []
        over = time.monotonic() + 20
        while time.monotonic() < over:
            answer = api.post("/api/orders", json={"customerId": f"customer-{len(placed) % 7}"})
            assert answer.status_code == 201, answer.text
            placed.append(answer.json()["orderId"])
        own_stack.start("registry")

        eventually(lambda: count(kafka, "order-events") >= len(placed), within_s=30)
    with closing(Registry(RegistrySettings(url=own_stack.registry_url))) as registry:
        cold = Decoder(registry)
        # A registry that has just started may take longer for its first answers than a client.
        eventually(lambda: registry.schema_text(1), within_s=60, why="the registry answers again")
        for topic, event_type in (("orders", OrderCreated), ("order-events", OrderEvent)):
            records = [record for record in read(kafka, topic, follow=False) if record is not None]
            decoded = [cold.decode_as(record.value, event_type).order_id for record in records]
            assert sorted(decoded) == sorted(placed), "each order once"


def count(kafka: KafkaSettings, topic: str) -> int:
    return sum(1 for _ in read(kafka, topic, follow=False))
