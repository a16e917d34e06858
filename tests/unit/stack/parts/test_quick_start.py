"""A server starts from its cache where there is one, and only from one that fits."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from orderflow.stack.parts.java import quick_start, quick_start_file


def test_a_server_that_was_never_trained_starts_without(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    assert quick_start("kafka", "/jars/*") == ()


def test_a_trained_server_starts_from_its_own_cache(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    file = quick_start_file("kafka", "/jars/*")
    file.parent.mkdir()
    file.touch()
    assert quick_start("kafka", "/jars/*")[-1] == f"-XX:AOTCache={file}"
    # Others than its jars, and another server.
    assert quick_start("kafka", "/newer/*") == ()
    assert quick_start("registry", "/jars/*") == ()
