"""Every connection has limits, and the DSN's own win."""

from __future__ import annotations

import pytest
from psycopg.conninfo import conninfo_to_dict

from orderflow.messaging.postgres import conninfo
from orderflow.messaging.postgres.bounded_connection import ANSWER_WITHIN_S
from orderflow.messaging.postgres.connection import SILENCE
from orderflow.messaging.postgres.schema_migrations import _yoyo_url


@pytest.mark.parametrize("dsn", ["host=db dbname=shop", "postgresql://db/shop"])
def test_the_kernel_watches_over_every_connection(dsn: str) -> None:
    parameters = conninfo_to_dict(conninfo(dsn, application_name="test"))
    assert {name: int(str(parameters[name])) for name in SILENCE} == SILENCE
    assert parameters["connect_timeout"] == "5"


def test_a_dsn_may_have_limits_of_its_own() -> None:
    parameters = conninfo_to_dict(
        conninfo("host=db tcp_user_timeout=3000 keepalives_idle=60", application_name="test")
    )
    assert (parameters["tcp_user_timeout"], parameters["keepalives_idle"]) == ("3000", "60")


def test_the_kernel_watches_over_migrations_too() -> None:
    assert "tcp_user_timeout=15000" in _yoyo_url("postgresql://db/shop")
    assert "tcp_user_timeout=3000" in _yoyo_url("postgresql://db/shop?tcp_user_timeout=3000")


def test_a_server_that_lives_answers_before_it_is_given_up() -> None:
    options = conninfo_to_dict(conninfo("host=db", application_name="test"))["options"]
    assert "statement_timeout=10s" in str(options)
    assert ANSWER_WITHIN_S > 10
