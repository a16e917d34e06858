"""The kit needs nothing of this product: where there is only the kit, its unit tests load."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parents[2]
KIT, TESTS, SUPPORT = "src/orderflow/messaging", "tests/unit/messaging", "tests/support"
RUN_THERE = f"{TESTS}/relay"

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


def test_the_unit_tests_of_the_kit_load_where_there_is_only_the_kit(tmp_path: Path) -> None:
    """
    Copied to an empty directory: the kit, its unit tests, and the files of tests/support that these
    import. Whatever imports contracts or services fails there; imports within functions are seen by
    the import law. One room's tests are run there, the others have run in this very suite.
    """
    for name in (KIT, TESTS):
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignore)
    (tmp_path / SUPPORT).mkdir()
    for name in ("__init__", *_support_of((ROOT / TESTS).rglob("*.py"))):
        shutil.copy(ROOT / SUPPORT / f"{name}.py", tmp_path / SUPPORT)
    shutil.copy(ROOT / "src/orderflow/__init__.py", tmp_path / "src/orderflow")
    (tmp_path / "pytest.ini").write_text(SETTINGS)
    (tmp_path / "conftest.py").write_text(CONFTEST)

    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    # Before the path of the installed package, which would offer the rest of the product.
    environment = {**inherited, "PYTHONPATH": str(tmp_path / "src")}

    for words in (("--collect-only", "tests"), (RUN_THERE,)):
        ran = subprocess.run(
            [sys.executable, "-m", "pytest", *words],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr


def _support_of(files: Iterable[Path]) -> set[str]:
    """The names of the modules of tests/support that these files import, directly or not."""
    needed: set[str] = set()
    waiting = list(files)
    while waiting:
        text = waiting.pop().read_text()
        imported = set(re.findall(r"^from tests\.support(?:\.| import )(\w+)", text, re.MULTILINE))
        waiting += [ROOT / SUPPORT / f"{name}.py" for name in imported - needed]
        needed |= imported
    return needed
