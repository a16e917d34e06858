"""Packages on demand: there in their locked versions, or installed by set-up, or said why not."""

from __future__ import annotations

import subprocess
from importlib.metadata import version
from pathlib import Path

import pytest

from orderflow.messaging.errors import ConfigurationError, OrderflowError
from orderflow.stack.parts import extra_packages
from orderflow.stack.parts.extra_packages import LAKE, ensure, missing

SET_UP = """
import pathlib, sys
root = pathlib.Path(__file__).parents[1]
(root / "installed").write_text(" ".join(sys.argv[1:]))
sys.exit({code})
"""


def checkout(root: Path, locked: str, *, code: int = 0) -> Path:
    (root / "requirements").mkdir()
    (root / "setup").mkdir()
    (root / "requirements" / f"{LAKE}.txt").write_text(locked)
    (root / "setup" / "bootstrap.py").write_text(SET_UP.format(code=code))
    return root


def test_the_lakes_own_group_is_there_in_development() -> None:
    assert missing(LAKE) == []


def test_what_has_another_version_or_is_not_there_is_missing(tmp_path: Path) -> None:
    locked = (
        f"pytest=={version('pytest')} \\\n    --hash=sha256:00\nmsgspec==0.0.1\nnot-there==1.2\n"
    )
    assert missing(LAKE, checkout(tmp_path, locked)) == ["msgspec==0.0.1", "not-there==1.2"]


def test_what_is_there_is_not_installed_again(tmp_path: Path) -> None:
    said: list[str] = []
    root = checkout(tmp_path, f"pytest=={version('pytest')}\n")
    ensure(LAKE, said.append, root)
    assert (said, (root / "installed").exists()) == ([], False)


def test_set_up_installs_the_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    root = checkout(tmp_path, "not-there==1.2\n")
    versions = iter([None, "1.2"])
    monkeypatch.setattr(extra_packages, "_present", lambda _name: next(versions))
    ensure(LAKE, said.append, root)
    assert said == ["installing what only the lake needs: not-there==1.2"]
    assert (root / "installed").read_text() == "lake"


@pytest.mark.parametrize("code", [0, 1])
def test_what_set_up_could_not_install_is_an_error_that_says_what_to_do(
    tmp_path: Path, code: int
) -> None:
    root = checkout(tmp_path, "not-there==1.2\n", code=code)
    with pytest.raises(OrderflowError, match="`setup/run lake`"):
        ensure(LAKE, lambda _text: None, root)


def test_a_set_up_that_takes_too_long_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def takes_long(command: list[str], **_options: object) -> None:
        raise subprocess.TimeoutExpired(command, 600)

    monkeypatch.setattr(subprocess, "run", takes_long)
    with pytest.raises(OrderflowError, match="run the same command again"):
        ensure(LAKE, lambda _text: None, checkout(tmp_path, "not-there==1.2\n"))


def test_an_installation_without_requirements_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"requirements/lake\.txt"):
        missing(LAKE, tmp_path)
