"""Whose state a directory is, and which of them `orderflow state prune` may delete."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from orderflow.cli import state as command
from orderflow.stack import lifecycle, state_dirs
from orderflow.stack.settings import StackSettings, checkout
from orderflow.stack.supervise.control import ControlServer


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "states"
    monkeypatch.setattr(state_dirs, "default_state_dir", lambda: root / "mine")
    return root


def used(root: Path, name: str, *, by: Path | None) -> StackSettings:
    """A state directory with a log and some data, of this checkout or of none that is known."""
    settings = StackSettings(home=root / name / "single", cache_dir=root)
    settings.logs.mkdir(parents=True)
    settings.data.mkdir()
    settings.run.mkdir()
    (settings.logs / "kafka.log").write_text("started\n")
    (settings.data / "orders").write_bytes(b"x" * 10_000)
    if by is not None:
        (root / name / state_dirs.OWNER).write_text(f"{by}\n")
    return settings


def test_only_what_has_no_checkout_any_more_is_pruned(root: Path, tmp_path: Path) -> None:
    kept = [used(root, "mine", by=checkout()), used(root, "of-an-older-version", by=None)]
    gone = used(root, "moved", by=tmp_path / "no-such-checkout")

    listed = json.loads(CliRunner().invoke(command.app, ["list", "--json"]).stdout)
    assert {Path(each["path"]).name: each["orphan"] for each in listed} == {
        "mine": False,
        "of-an-older-version": False,
        "moved": True,
    }
    assert all(each["bytes"] >= 10_000 for each in listed)

    assert CliRunner().invoke(command.app, ["prune"]).exit_code == 1
    assert CliRunner().invoke(command.app, ["prune", "--older-than", "1", "--yes"]).exit_code == 0
    assert gone.home.exists()
    assert CliRunner().invoke(command.app, ["prune", "--yes"]).exit_code == 0
    assert not gone.home.parent.exists()
    assert all(settings.home.exists() for settings in kept)


@pytest.fixture
def running(root: Path, tmp_path: Path) -> Iterator[StackSettings]:
    settings = used(root, "running", by=tmp_path / "no-such-checkout")
    server = ControlServer(settings.run, lambda _: iter([{"event": "here"}]))
    yield settings
    server.close()


def test_what_runs_is_never_pruned(running: StackSettings) -> None:
    assert CliRunner().invoke(command.app, ["prune", "--yes"]).exit_code == 0
    assert running.home.exists()


def test_a_directory_names_its_checkout_until_its_last_instance_is_reset(root: Path) -> None:
    settings = used(root, "mine", by=None)
    assert not state_dirs.is_new(settings)
    state_dirs.name_owner(settings)
    (only,) = state_dirs.state_dirs()
    assert (only.checkout, only.is_orphan) == (checkout(), False)

    (settings.home.parent / "cluster").mkdir()
    lifecycle.reset(settings)
    assert (settings.home.parent / state_dirs.OWNER).exists()
    (settings.home.parent / "cluster").rmdir()
    settings.home.mkdir()
    lifecycle.reset(settings)
    assert not settings.home.parent.exists()
