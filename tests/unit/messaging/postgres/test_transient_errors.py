"""Which of the database's answers belong to whom: the server, the work, or one record."""

from __future__ import annotations

import psycopg
import pytest
from psycopg import errors

from orderflow.messaging.errors import Contention, Transient, Unavailable, Unfit
from orderflow.messaging.postgres import transient


@pytest.mark.parametrize("state", ["55P03", "57014"])
def test_a_lock_or_statement_time_out_is_contention(state: str) -> None:
    assert type(transient(errors.lookup(state)("too long"))) is Contention


@pytest.mark.parametrize("state", ["40001", "40P01"])
def test_a_deadlock_or_serialization_failure_may_be_tried_again_at_once(state: str) -> None:
    assert type(transient(errors.lookup(state)("undone"))) is Transient


@pytest.mark.parametrize(
    "state",
    [
        *("42P01", "42703", "42883", "42704", "42P10", "3F000", "3D000", "42501"),
        *("25006", "53300", "57P01", "57P03", "08006"),
    ],
)
def test_a_database_that_is_not_what_the_program_was_made_for_is_unavailable_and_says_why(
    state: str,
) -> None:
    error = transient(errors.lookup(state)('relation "parcels" does not exist'))
    assert isinstance(error, Unavailable)
    assert isinstance(error, Unfit) == state.startswith(("42", "3"))
    assert 'relation "parcels" does not exist' in str(error)


@pytest.mark.parametrize("state", ["28000", "28P01"])
def test_a_login_that_is_refused_is_unavailable_and_names_no_user(state: str) -> None:
    error = transient(errors.lookup(state)('password authentication failed for user "jane"'))
    assert type(error) is Unfit
    assert state in str(error)
    assert "jane" not in str(error)


@pytest.mark.parametrize("state", ["23505", "23514", "22003", "42601"])
def test_what_a_row_or_a_statement_is_at_fault_for_is_not_healed_by_time(state: str) -> None:
    assert transient(errors.lookup(state)("wrong")) is None


def test_an_error_without_a_state_is_a_lost_server_only_if_the_driver_says_so() -> None:
    assert isinstance(transient(psycopg.OperationalError("refused")), Unavailable)
    assert transient(psycopg.ProgrammingError("no results to fetch")) is None
    assert transient(ValueError("x")) is None
