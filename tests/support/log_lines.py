"""The log lines of a test, as a program reads them."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import sys
import threading
from collections.abc import Iterator
from typing import Any, Literal

import pytest
import structlog

from orderflow.messaging.settings import TelemetrySettings
from orderflow.messaging.telemetry import configure


class LogLines:
    """What was written so far. `of` has the lines with a message, in their order."""

    def __init__(self, stream: io.StringIO) -> None:
        self._stream = stream

    @property
    def text(self) -> str:
        return self._stream.getvalue()

    @property
    def all(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.splitlines()]

    def of(self, message: str) -> list[dict[str, Any]]:
        return [line for line in self.all if line["message"] == message]

    def level(self, level: Literal["debug", "info", "warning"]) -> None:
        """Write only lines of this level and above, from here on."""
        # Not for the whole test: pytest puts its own stream there for each phase of one.
        with contextlib.redirect_stderr(self._stream):
            _configure(level)


def _configure(level: Literal["debug", "info", "warning"]) -> None:
    configure("probe", TelemetrySettings(log_format="json", log_level=level))
    structlog.configure(**{**structlog.get_config(), "cache_logger_on_first_use": False})
    # What a logger of a module has remembered of an earlier configuration.
    for module in [each for name, each in sys.modules.items() if name.startswith("orderflow")]:
        vars(vars(module).get("log", module)).pop("bind", None)


@pytest.fixture
def log_lines() -> Iterator[LogLines]:
    """Lines from level `debug` upwards, as JSON."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    uncaught = sys.excepthook, threading.excepthook
    lines = LogLines(io.StringIO())
    lines.level("debug")
    yield lines
    # Nobody reads what is written from here on.
    configure("probe", TelemetrySettings(log_level="error"))
    sys.excepthook, threading.excepthook = uncaught
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()
