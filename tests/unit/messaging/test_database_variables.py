"""libpq's environment variables complete no address of ours."""

from __future__ import annotations

from psycopg.pq import Conninfo

from orderflow.messaging.database_variables import (
    DATABASE_VARIABLES,
    forget_database_variables,
)


def test_every_variable_that_the_driver_would_read_is_known() -> None:
    read = {option.envvar.decode() for option in Conninfo.get_defaults() if option.envvar}
    assert read
    assert read <= DATABASE_VARIABLES


def test_they_are_taken_out_by_name_and_nothing_else_is() -> None:
    environment = {"PGHOSTADDR": "192.0.2.1", "PGSERVICE": "corp", "PGDATA": "/srv", "HOME": "/"}
    assert forget_database_variables(environment) == ["PGHOSTADDR", "PGSERVICE"]
    assert environment == {"PGDATA": "/srv", "HOME": "/"}
    assert forget_database_variables(environment) == []
