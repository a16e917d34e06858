"""docs/lifetimes.md has a life for every table of every schema, and for every topic."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import orderflow
from orderflow.contracts.roster import topics
from orderflow.messaging.postgres import inbox, outbox

PAGE = (Path(__file__).parents[2] / "docs" / "lifetimes.md").read_text()
SERVICES = Path(*orderflow.__path__, "services")
SCHEMAS = {path.parent.name: path.read_text() for path in SERVICES.glob("*/schema.sql")}
GROUP_TOPICS = {".dlt": "a group's `….dlt`", ".replay": "a group's `….replay`"}

_TABLE = re.compile(r"^CREATE TABLE (\w+)", re.MULTILINE)
_OF_A_SERVICE = re.compile(r"^\| (\w+) \| `(\w+)` \| ([^|]+) \|", re.MULTILINE)
_OF_THE_KIT = re.compile(r"^\| `(\w+)` \| ([^|]+) \|", re.MULTILINE)
_TOPIC = re.compile(r"^\| (a group's `[^`]+`|`[a-z-]+`) \| ([^|]+) \|$", re.MULTILINE)


def test_every_table_has_a_life() -> None:
    kit = {*_TABLE.findall(inbox.DDL), *_TABLE.findall(outbox.ddl(["topic"]))}
    tables = {
        (service, table)
        for service, schema in SCHEMAS.items()
        for table in _TABLE.findall(schema)
        if table not in kit
    }
    before_topics = PAGE[: PAGE.index("## Topics")]
    assert {(service, table) for service, table, _ in _OF_A_SERVICE.findall(PAGE)} == tables
    assert {table for table, _ in _OF_THE_KIT.findall(before_topics)} == kit


def test_the_kits_tables_live_as_long_as_the_code_says() -> None:
    lives = dict(_OF_THE_KIT.findall(PAGE))
    assert lives["inbox"].startswith(f"{inbox.RETENTION.days} days")
    assert lives["outbox"].startswith(f"{outbox.RETENTION_DAYS} days")


def test_every_topic_is_kept_as_long_as_the_page_says() -> None:
    described = dict(_TOPIC.findall(PAGE[PAGE.index("## Topics") :]))
    declared = {named(topic.name): words(topic.retention) for topic in topics()}
    assert described == declared


def named(topic: str) -> str:
    of_group = next((end for end in GROUP_TOPICS if topic.endswith(end)), None)
    return GROUP_TOPICS[of_group] if of_group else f"`{topic}`"


def words(retention: timedelta | None) -> str:
    return "the last record of each key" if retention is None else f"{retention.days} days"
