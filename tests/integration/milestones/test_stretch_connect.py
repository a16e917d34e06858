"""
The stretch goal in its words: `payments` streamed to a database with a sink connector. The worker
is killed again and again, and the database too, one record is poison, the whole topic is read
again: the warehouse is the ledger, to the row and the minor unit. Ten kills and three of the
database in the long run, four and one in each.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from functools import partial

import msgspec
import pytest
from tests.support.builders import CUSTOMER, an_order, paid
from tests.support.kafka_tools import orderflow
from tests.support.order_service import deploy_contracts
from tests.support.payments_ledger import PaymentsLedger
from tests.support.raw_producer import produce
from tests.support.service import Service, service_deployed
from tests.support.stack import OwnStack
from tests.support.warehouse import SINK, Warehouse, config_of, warehouse_on

from orderflow.connect import deploy
from orderflow.connect.warehouse import net_by_currency
from orderflow.contracts.schemas import CATALOGUE
from orderflow.contracts.topics import PAYMENTS
from orderflow.messaging.errors import ConfigurationError, Incompatible
from orderflow.messaging.kafka.group_topics import dead_letter_topic
from orderflow.messaging.kafka.reader import read
from orderflow.messaging.schemas.registry import Registry
from orderflow.messaging.settings import RegistrySettings
from orderflow.messaging.testing.eventually import eventually

KILLS = [(4, (2,)), pytest.param(10, (2, 5, 8), marks=pytest.mark.long)]
"""Of the worker; and after which of them the database is killed, too."""
ORDERS_A_ROUND = 1_850
EVENTS_A_ROUND = 2_000
"""At least: with the refunds."""

PAID = "orderflow.PaymentSucceeded"
DEAD_LETTERS = dead_letter_topic(PAYMENTS, SINK).name

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def stack(connect_stack: OwnStack) -> OwnStack:
    deploy_contracts(connect_stack)
    return connect_stack


@pytest.fixture(scope="module")
def warehouse(stack: OwnStack) -> Iterator[Warehouse]:
    with warehouse_on(stack) as warehouse:
        yield warehouse


@pytest.fixture(scope="module")
def payments(stack: OwnStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Whose records these are: only its producer is used."""
    with service_deployed(stack, tmp_path_factory.mktemp("lake"), "lake") as service:
        yield service


@pytest.fixture(scope="module")
def ledger(payments: Service) -> PaymentsLedger:
    return PaymentsLedger(payments)


def test_a_table_that_does_not_fit_is_named_and_left_alone(warehouse: Warehouse) -> None:
    warehouse.execute("CREATE TABLE payments (payment_id text PRIMARY KEY, secret text)")
    warehouse.execute("INSERT INTO payments VALUES ('mine', 'keep me')")
    with pytest.raises(Incompatible, match=r"has no column order_id.*left as it is"):
        warehouse.deploy()
    assert warehouse.query("SELECT * FROM payments") == [("mine", "keep me")]
    assert warehouse.client.states() == []
    warehouse.execute("DROP TABLE payments")


def test_a_wrong_configuration_is_refused_in_connects_words(warehouse: Warehouse) -> None:
    wrong = {"name": SINK, **config_of(warehouse), "tasks.max": "many"}
    [refused] = warehouse.client.validate(wrong)
    assert refused.name == "tasks.max"
    assert "Invalid value many for configuration tasks.max" in refused.errors[0]
    with pytest.raises(ConfigurationError, match=r"no\.such\.Connector"):
        warehouse.client.validate({"name": SINK, "connector.class": "no.such.Connector"})
    assert warehouse.client.states() == []


@pytest.mark.parametrize(("kills", "database_after"), KILLS)
def test_after_kills_of_worker_and_database_the_warehouse_is_the_ledger(
    stack: OwnStack,
    warehouse: Warehouse,
    ledger: PaymentsLedger,
    kills: int,
    database_after: tuple[int, ...],
) -> None:
    warehouse.deploy()
    for number in range(kills):
        before = warehouse.count()
        ledger.add(ORDERS_A_ROUND)
        if number == 0:
            produce(
                stack.bootstrap_servers,
                PAYMENTS.name,
                key=b"poison",
                value=b"this is no Avro",
                headers=[],
            )
        eventually(
            partial(_has_more_than, warehouse, before),
            within_s=60,
            every_s=0.02,
            why="the sink is in the middle of it",
        )
        if number in database_after:
            warehouse.kill_database()
        warehouse.kill_worker()

    warehouse.eventually_caught_up()
    assert ledger.events > kills * EVENTS_A_ROUND
    assert warehouse.rows() == ledger.rows


def test_the_poison_record_is_the_one_dead_letter(stack: OwnStack, payments: Service) -> None:
    """As often as a worker was killed before it was past it: it has no transaction for letters."""
    letters = [record for record in read(payments.kafka, DEAD_LETTERS, follow=False) if record]
    assert {(letter.key, letter.value) for letter in letters} == {(b"poison", b"this is no Avro")}
    shown = orderflow(stack, "dlt", "list", "--group", SINK)
    assert shown.returncode == 0, shown.stderr
    assert "artifactId cannot be null" in " ".join(shown.stdout.split())


def test_ledger_warehouse_and_files_have_the_same_sum(
    payments: Service, warehouse: Warehouse, ledger: PaymentsLedger
) -> None:
    exporter = payments.start("exporter")
    payments.eventually_caught_up(within_s=90)
    sums = exporter.client.get("/lake/payments/sums").json()
    assert exporter.terminate() == 0

    amounts = {total["status"]: total["amountMinor"] for total in sums["totals"]}
    assert sums["events"] == ledger.events
    assert sums["payments"] == len(ledger.payments)
    assert amounts["CAPTURED"] - amounts["REFUNDED"] == ledger.net_minor
    assert net_by_currency(warehouse.settings.warehouse.settings()) == {"EUR": ledger.net_minor}


def test_the_whole_topic_again_changes_nothing(
    stack: OwnStack, warehouse: Warehouse, ledger: PaymentsLedger
) -> None:
    rewound = orderflow(stack, "connect", "rewind", SINK, "--yes")
    assert rewound.returncode == 0, rewound.stderr
    assert warehouse.lag() > 0
    # What comes in meanwhile finds its place among the old.
    ledger.add(100)
    warehouse.eventually_caught_up()
    assert warehouse.rows() == ledger.rows


def test_a_new_optional_field_becomes_a_column(
    stack: OwnStack, warehouse: Warehouse, payments: Service
) -> None:
    warehouse.deploy()
    event = paid(an_order())
    schema = msgspec.json.decode(CATALOGUE.versions(PAID)[-1].text)
    schema["fields"].append({"name": "riskScore", "type": ["null", "int"], "default": None})
    with closing(Registry(RegistrySettings(url=stack.registry_url))) as registry:
        schema_id = registry.register(
            f"{PAYMENTS.name}-{PAID}", msgspec.json.encode(schema).decode()
        )

    old = payments.encoder.encode(PAYMENTS.name, event)
    # The new field is the last one: 7, behind the branch of the union, in Avro's zigzag.
    value = b"\0" + schema_id.to_bytes(4, "big") + old[5:] + b"\x02\x0e"
    produce(
        stack.bootstrap_servers,
        PAYMENTS.name,
        key=str(event.order_id).encode(),
        value=value,
        headers=[(b"ce_type", PAID.encode())],
    )
    eventually(
        lambda: (
            warehouse.query(
                f"SELECT to_jsonb(payments) -> 'risk_score' FROM payments "
                f"WHERE payment_id = '{event.payment_id}'"
            )
            == [(7,)]
        ),
        within_s=60,
        why="the new field is a column",
    )


def test_what_is_refused_comes_back_with_one_command(
    stack: OwnStack, warehouse: Warehouse, ledger: PaymentsLedger
) -> None:
    """A task that starts without the registry knows no schema: each record is a bad one for it."""
    warehouse.deploy()
    warehouse.eventually_caught_up()
    stack.stop("registry")
    warehouse.client.restart(SINK, only_failed=False)
    deploy.wait_until_running(warehouse.client, SINK)
    ledger.add(1)
    eventually(lambda: warehouse.lag() == 0, within_s=60, why="the sink has refused the record")
    [(*_, failed)] = warehouse.query("SELECT count(*) FROM payments WHERE amount_minor = 100")

    stack.start("registry")
    replay = ("dlt", "replay", "--group", SINK, "--type", "PaymentFailed", "--yes")
    replayed = orderflow(stack, *replay)
    assert replayed.returncode == 0, replayed.stderr
    warehouse.eventually_caught_up()
    [(*_, there)] = warehouse.query("SELECT count(*) FROM payments WHERE amount_minor = 100")
    expected = sum(amount == 100 for *_, amount in ledger.rows)
    assert (failed, there) == (expected - 1, expected)


def test_a_warehouse_that_is_read_only_fails_alone_and_says_why(
    warehouse: Warehouse, ledger: PaymentsLedger
) -> None:
    warehouse.deploy()
    warehouse.set_read_only(True)
    ledger.add(30)
    eventually(lambda: warehouse.client.state(SINK).has_failed, within_s=60, why="it can't write")
    state = warehouse.client.state(SINK)
    assert "read-only transaction" in state.reason
    assert "INSERT INTO" not in state.reason
    assert warehouse.lag() > 0
    with pytest.raises(deploy.ConnectorFailed, match="orderflow connect restart"):
        deploy.wait_until_running(warehouse.client, SINK, within_s=6)

    warehouse.set_read_only(False)
    warehouse.eventually_caught_up()
    rows = {row[0]: row for row in warehouse.rows()}
    assert {key: rows.get(key) for key in ledger.payments} == ledger.payments


def test_no_row_of_a_payment_is_in_the_workers_log(stack: OwnStack) -> None:
    log = stack.local.find("connect").log.read_text()
    assert "payments-warehouse" in log
    assert "INSERT INTO" not in log
    assert CUSTOMER not in log


def _has_more_than(warehouse: Warehouse, before: int) -> bool:
    return warehouse.count() > before
