"""The kit needs nothing of this product: copied to an empty place, without contracts and services, its tests pass."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
COPIED = (
    "src/orderflow/__init__.py",
    "src/orderflow/messaging",
    "tests/unit/messaging",
    "tests/support/__init__.py",
    "tests/support/probe_language.py",
    "tests/support/records.py",
    "tests/support/strategies.py",
)
SETTINGS = """
[pytest]
addopts = -x -q -p no:cacheprovider --import-mode=importlib
pythonpath = . src
filterwarnings = error
"""
CONFTEST = """
from hypothesis import settings

settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")
"""


def test_the_unit_tests_of_the_kit_pass_where_there_is_only_the_kit(tmp_path: Path) -> None:
    for name in COPIED:
        source, target = ROOT / name, tmp_path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    (tmp_path / "pytest.ini").write_text(SETTINGS)
    (tmp_path / "conftest.py").write_text(CONFTEST)

    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "tests"],
        cwd=tmp_path,
        # Before the path of the installed package, which would offer the rest of the product.
        env={**inherited, "PYTHONPATH": str(tmp_path / "src")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ran.returncode == 0, ran.stdout + ran.stderr
