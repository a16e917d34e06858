"""Each planted bug still has its place in the code: a patch that applies nowhere proves nothing."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from tests.mutants.__main__ import MUTANTS, PATCHES, ROOT

NAMES = sorted(name for rows in MUTANTS.values() for name in rows)


def test_each_mutant_has_a_patch_and_a_test_that_is_to_fail() -> None:
    assert sorted(patch.stem for patch in PATCHES.glob("*.patch")) == NAMES
    assert all((ROOT / file).is_file() for file in MUTANTS)


@pytest.mark.parametrize("name", NAMES)
def test_the_patch_of_a_mutant_applies(name: str) -> None:
    patch = Path(PATCHES) / f"{name}.patch"
    applied = subprocess.run(
        ["git", "apply", "--check", str(patch)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert applied.returncode == 0, applied.stderr
