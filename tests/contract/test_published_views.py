"""Each service with a database publishes its side of the books: views, each with a comment."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import orderflow.services
from orderflow.contracts.roster import ROSTER
from orderflow.messaging.postgres.inbox import DDL as INBOX
from orderflow.messaging.postgres.published import INBOX_VIEW, OUTBOX_VIEWS

SERVICES = Path(next(iter(orderflow.services.__path__)))
WITH_DATABASE = [member.name for member in ROSTER if member.has_database]


@pytest.mark.parametrize("service", WITH_DATABASE)
def test_a_service_publishes_views_and_says_what_each_is(service: str) -> None:
    schema = (SERVICES / service / "schema.sql").read_text()
    views = re.findall(r"CREATE VIEW (\w+)", schema)
    assert views
    assert all(name.startswith("books_") for name in views)
    assert re.findall(r"COMMENT ON VIEW (\w+) IS\n    '.{40,}';", schema) == views


@pytest.mark.parametrize("service", WITH_DATABASE)
def test_its_inbox_and_outbox_are_published_in_the_kits_words(service: str) -> None:
    schema = (SERVICES / service / "schema.sql").read_text()
    migrations = "".join(
        path.read_text() for path in (SERVICES / service / "migrations").glob("*.sql")
    )
    for table, views in ((INBOX, INBOX_VIEW), ("CREATE TABLE outbox (", OUTBOX_VIEWS)):
        assert (table in schema) == (views in schema) == (views in migrations)
