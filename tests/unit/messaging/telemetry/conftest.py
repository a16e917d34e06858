"""A test that configures log lines leaves none behind that write into its own, closed stream."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Iterator

import pytest
import structlog

from orderflow.messaging.settings import TelemetrySettings
from orderflow.messaging.telemetry import configure


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    uncaught = sys.excepthook, threading.excepthook
    yield
    # The stream of this test is closed when the next one writes.
    configure("parcels", TelemetrySettings(log_level="error"))
    sys.excepthook, threading.excepthook = uncaught
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()
