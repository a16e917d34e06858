"""Errors are told without the data that they are about, wherever they are told."""

from __future__ import annotations

import logging
import smtplib
import threading
from collections.abc import Callable

import httpx2
import msgspec
import psycopg
import pytest
from confluent_kafka import KafkaError, KafkaException
from psycopg import errors
from tests.support.log_lines import LogLines, log_lines
from tests.support.memory_listener import MemoryListener

from orderflow.messaging.error_text import error_text, error_words, traceback_text
from orderflow.messaging.errors import Poison, Unavailable
from orderflow.messaging.listener import RetryPolicy
from orderflow.messaging.telemetry import logger, logs

__all__ = ["log_lines"]

CANARY = "jane.canary@example.com"
DETAIL = f"duplicate key value\nDETAIL:  Key (address)=({CANARY}) already exists."


def refused() -> Exception:
    return smtplib.SMTPRecipientsRefused({CANARY: (550, f"no such user {CANARY}".encode())})


def unparsed() -> Exception:
    with pytest.raises(msgspec.ValidationError) as raised:
        msgspec.json.decode(msgspec.json.encode({CANARY: 1}), type=Strict)
    return raised.value


class Strict(msgspec.Struct, forbid_unknown_fields=True):
    number: int = 0


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("can't be shown")


ERRORS: list[tuple[Exception, str]] = [
    (errors.UniqueViolation(DETAIL), "UniqueViolation: SQLSTATE 23505"),
    (errors.InvalidTextRepresentation(CANARY), "InvalidTextRepresentation: SQLSTATE 22P02"),
    (
        errors.UndefinedTable('relation "outbox" does not exist\nLINE 1'),
        'UndefinedTable: SQLSTATE 42P01, relation "outbox" does not exist',
    ),
    (
        psycopg.OperationalError(
            f'connection to server at "10.0.0.7" failed: Connection refused, user {CANARY}'
        ),
        "OperationalError: Connection refused",
    ),
    (refused(), "SMTPRecipientsRefused: code 550"),
    (smtplib.SMTPDataError(451, CANARY), "SMTPDataError: code 451"),
    (httpx2.ConnectError(CANARY), "ConnectError"),
    (unparsed(), "ValidationError: Object contains unknown field '…'"),
    (ConnectionRefusedError(111, CANARY), "ConnectionRefusedError: Connection refused"),
    (KeyError(CANARY), "KeyError"),
    (ValueError(CANARY), "ValueError"),
    (RuntimeError(CANARY), "RuntimeError"),
    (UnicodeDecodeError("utf-8", CANARY.encode(), 0, 1, "bad"), "UnicodeDecodeError: bad"),
    (ExceptionGroup(CANARY, [ValueError(CANARY)]), "ExceptionGroup: 1 errors: ValueError"),
    (Mute(), "Mute"),
    (Poison("the record has no ce_id header"), "Poison: the record has no ce_id header"),
]


ONLY = [error for error, _text in ERRORS]
NAMES = [type(error).__name__ for error in ONLY]


def raised(error: Exception) -> Exception:
    """With a traceback."""
    try:
        raise error
    except type(error):
        return error


@pytest.mark.parametrize(("error", "text"), ERRORS, ids=NAMES)
def test_an_error_is_told_by_what_can_have_no_data_in_it(error: Exception, text: str) -> None:
    assert error_text(error) == text


def test_what_the_broker_says_is_told() -> None:
    error = KafkaException(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE))
    assert error_words(error).startswith("MSG_SIZE_TOO_LARGE")


@pytest.mark.parametrize("error", ONLY, ids=NAMES)
def test_a_traceback_has_the_lines_of_code_and_no_errors_own_text(error: Exception) -> None:
    error.add_note(CANARY)
    away = Unavailable("the database is away", resource="database")
    away.__cause__ = raised(error)
    text = traceback_text(raised(away))
    assert CANARY not in text
    assert "raise error\n" in text
    assert "direct cause of the following exception" in text
    assert text.endswith("orderflow.messaging.errors.Unavailable: the database is away\n")


def test_an_error_that_is_its_own_cause_is_told_once() -> None:
    error = ValueError(CANARY)
    error.__cause__ = KeyError(CANARY)
    error.__cause__.__context__ = error
    assert traceback_text(error).count("ValueError") == 1


def _structured(error: Exception) -> None:
    logger("probe").exception("it failed", why=error)


def _foreign(error: Exception) -> None:
    logging.getLogger("psycopg.pool").warning("can't connect: %s", error, exc_info=error)
    logging.getLogger("asyncio").error("never retrieved\nfuture: %r", error)


def _thread(error: Exception) -> None:
    def work() -> None:
        raise error

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


@pytest.mark.parametrize("write", [_structured, _foreign, _thread])
@pytest.mark.parametrize("error", ONLY, ids=NAMES)
def test_no_line_has_an_errors_own_text_whoever_writes_it(
    log_lines: LogLines,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    write: Callable[[Exception], None],
    error: Exception,
) -> None:
    # Pytest has put its own in its place, which would collect the error.
    monkeypatch.setattr(threading, "excepthook", logs._tell_uncaught_in_thread)
    write(raised(error))
    shown = log_lines.text + capsys.readouterr().err
    assert type(error).__name__ in shown
    assert CANARY not in shown


def test_a_dead_letters_evidence_and_its_lines_have_no_errors_own_text(
    log_lines: LogLines,
) -> None:
    listener = MemoryListener(retry=RetryPolicy(back_off_s=(0.1, 0.1)))
    listener.handler.meanwhile = lambda: (_ for _ in ()).throw(errors.UniqueViolation(DETAIL))
    listener.ask("order-1", 1)
    listener.turn(30)

    (letter,) = listener.dead
    evidence = dict(letter.headers())
    assert evidence["kafka_dlt-exception-fqcn"] == b"psycopg.errors.UniqueViolation"
    assert evidence["kafka_dlt-exception-message"] == b"SQLSTATE 23505"
    assert b"meanwhile" in (evidence["kafka_dlt-exception-stacktrace"] or b"")
    assert CANARY.encode() not in b"".join(value or b"" for value in evidence.values())
    assert log_lines.of("dead letter")
    assert CANARY not in log_lines.text
