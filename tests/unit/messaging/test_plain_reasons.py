"""What everybody may read names no host, no user, and nothing that a server or driver said."""

from __future__ import annotations

import pytest
from psycopg import OperationalError, errors
from pydantic import SecretStr

from orderflow.messaging.errors import Transient, Unavailable, plain, redacted
from orderflow.messaging.kafka.transactions import ProducerLost, Refusal, TransactionAborted
from orderflow.messaging.postgres import transient
from orderflow.messaging.process.database_check import DatabaseCheck
from orderflow.messaging.settings import DatabaseSettings
from orderflow.messaging.testing.memory_clock import MemoryClock
from orderflow.messaging.work.gate import Gate

DRIVER = (
    'connection failed: connection to server at "db.example" (10.1.2.3), port 5432 failed: '
    'FATAL:  password authentication failed for user "canary"'
)
BROKER = "sasl_ssl://kafka.example:9093/bootstrap: Connect to ipv4#10.1.2.3:9093 failed"
CANARIES = ("db.example", "10.1.2.3", "canary", "kafka.example", "5432", "FATAL")


@pytest.mark.parametrize(
    "error",
    [
        transient(OperationalError(DRIVER)),
        transient(errors.InvalidPassword(DRIVER)),
        transient(errors.UndefinedTable(f'relation "canary" does not exist: {DRIVER}')),
        transient(errors.TooManyConnections(DRIVER)),
        transient(errors.QueryCanceled(DRIVER)),
        Unavailable(BROKER, resource="broker"),
        Transient(DRIVER, resource="database"),
        TransactionAborted(BROKER, resource="broker", refused=Refusal.TOPIC),
        TransactionAborted(BROKER, resource="broker"),
        ProducerLost(BROKER, fenced=True),
        ValueError(DRIVER),
    ],
    ids=repr,
)
def test_a_reason_is_in_our_own_words(error: BaseException) -> None:
    reason = plain(error)
    assert not [canary for canary in CANARIES if canary in reason], reason
    gate = Gate("probe", "handle", clock=MemoryClock())
    if isinstance(error, Transient):
        gate.failed(error)
        assert gate.reason == reason


@pytest.mark.parametrize("text", [DRIVER, BROKER])
def test_a_message_for_the_log_names_no_host_and_no_user(text: str) -> None:
    hosts = ("db.example", "10.1.2.3", "canary", "kafka.example")
    assert not [host for host in hosts if host in redacted(text)], redacted(text)
    assert str(Unavailable(text, resource="database")) == redacted(text)
    assert "failed" in redacted(text), "what has happened stays"


def test_what_is_wrong_with_a_database_is_told_by_its_code() -> None:
    lacks = "database: lacks a table, column or other object: run its migrations"
    told = {
        errors.UndefinedTable: lacks,
        errors.ReadOnlySqlTransaction: "database: is read-only",
        errors.InvalidCatalogName: "database: does not exist",
        errors.InvalidPassword: "database: refuses the login",
        errors.InsufficientPrivilege: "database: refuses a privilege",
        errors.DiskFull: "database: has no connection, memory or disk left",
        errors.CannotConnectNow: "database: is stopping, or starting",
        OperationalError: "database: does not answer",
    }
    found = {kind: plain(transient(kind("")) or ValueError()) for kind in told}
    assert found == told


def test_a_database_that_is_away_is_told_without_its_address_or_user() -> None:
    nowhere = SecretStr("postgresql://canary:secret@127.0.0.1:9/canary")
    check = DatabaseCheck(DatabaseSettings(dsn=nowhere), application_name="test", table="parcels")
    assert check.reasons() == ["database: does not answer"]
    check.close()
