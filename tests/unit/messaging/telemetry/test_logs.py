"""Log lines as others parse them."""

from __future__ import annotations

import json
import logging

import pytest

from orderflow.messaging.settings import TelemetrySettings
from orderflow.messaging.telemetry import LogLine, configure, logger, write_lines


class Parcel(LogLine, kw_only=True):
    number: int

    def __str__(self) -> str:
        return f"parcel {self.number} has left"


PARCELS = [Parcel(logger="parcels", message="left", number=number) for number in (1, 2)]


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_a_line_is_one_json_object_with_level_time_service_and_logger(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure("parcels", TelemetrySettings(log_format="json"))
    logger("parcels.sorter").info("published", topic="letters", records=3)
    (line,) = lines(capsys)

    assert str(line.pop("timestamp")).endswith("Z")
    assert line == {
        "message": "published",
        "level": "info",
        "service": "parcels",
        "logger": "parcels.sorter",
        "topic": "letters",
        "records": 3,
    }


def test_lines_written_together_are_lines_like_any_other(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure("parcels", TelemetrySettings(log_format="json"))
    write_lines(PARCELS)
    logger("parcels").info("left", number=3)
    written = lines(capsys)
    assert [line["number"] for line in written] == [1, 2, 3]
    assert all(str(line.pop("timestamp")).endswith("Z") and line.pop("number") for line in written)
    assert written[0] == written[1] == written[2]


def test_lines_written_together_read_as_text_and_are_silent_below_info(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure("parcels", TelemetrySettings(log_format="text"))
    write_lines(PARCELS)
    assert [line.partition("]")[2] for line in capsys.readouterr().err.splitlines()] == [
        " parcel 1 has left",
        " parcel 2 has left",
    ]
    configure("parcels", TelemetrySettings(log_format="json", log_level="warning"))
    write_lines(PARCELS)
    assert not capsys.readouterr().err


def test_a_logger_made_before_configuration_speaks_as_configured(
    capsys: pytest.CaptureFixture[str],
) -> None:
    early = logger("early")
    configure("parcels", TelemetrySettings(log_format="json", log_level="warning"))
    early.info("not shown")
    early.warning("shown")
    assert [line["message"] for line in lines(capsys)] == ["shown"]


def test_other_libraries_lines_come_out_in_the_same_form(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure("parcels", TelemetrySettings(log_format="json"))
    logging.getLogger("uvicorn.error").warning("closing %d connections", 2)
    (line,) = lines(capsys)
    assert (line["message"], line["logger"], line["service"]) == (
        "closing 2 connections",
        "uvicorn.error",
        "parcels",
    )


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_a_traceback_shows_no_local_variable(
    log_format: str, capsys: pytest.CaptureFixture[str]
) -> None:
    configure("parcels", TelemetrySettings.model_validate({"log_format": log_format}))
    secret = "".join(["hunt", "er2"])
    users: dict[str, str] = {}
    try:
        _ = users[f"no such user, {len(secret)} letters"]
    except KeyError:
        logger("parcels").exception("login failed")
        logging.getLogger("other").exception("login failed")
    shown = capsys.readouterr().err
    assert "login failed" in shown
    assert "no such user, {len(secret)} letters" in shown
    assert "no such user, 7 letters" not in shown
    assert "hunter2" not in shown
