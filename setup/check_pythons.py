"""
`make check-pythons`: the kit's unit tests on every Python that we support and that is installed.

The Python of `.venv` is left out: `make check` runs on it. Each other one gets an environment of
its own in `.pythons/`, from the same hashed requirements. Fails if one fails, or if there is none.
"""
# ruff: noqa: T201

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PLACE = ROOT / ".pythons"
UV = ROOT / ".venv" / "bin" / "uv"
MINORS = (11, 12, 13, 14)
GROUPS = ("runtime", "development", "bench", "lake")
TESTS = ("tests/unit/messaging", "tests/unit/contracts")


def installed() -> dict[str, Path]:
    """Version → interpreter: of each minor version the first that starts."""
    found = {}
    for minor in MINORS:
        starting = (python for python in _candidates(minor) if _version(python) == f"3.{minor}")
        if python := next(starting, None):
            found[f"3.{minor}"] = python
    return found


def _candidates(minor: int) -> Iterator[Path]:
    on_path = shutil.which(f"python3.{minor}")
    if on_path:
        yield Path(on_path)
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    yield from sorted(pyenv.glob(f"versions/3.{minor}.*/bin/python3"), reverse=True)


def _version(python: Path) -> str:
    """`3.12`; empty if it does not start: a shim of a version that is not chosen does not."""
    program = "import sys; print('%d.%d' % sys.version_info[:2])"
    started = subprocess.run(
        [python, "-I", "-c", program], capture_output=True, text=True, check=False
    )
    return started.stdout.strip()


def environment(version: str, python: Path) -> Path:
    """The Python of an environment with all requirements."""
    place = PLACE / version
    inside = place / "bin" / "python"
    if not inside.exists() or _version(inside) != version:
        shutil.rmtree(place, ignore_errors=True)
        subprocess.run([UV, "venv", "-q", place, "--python", python], check=True)

    files = [ROOT / "requirements" / f"{group}.txt" for group in GROUPS]
    sync = [UV, "pip", "sync", "-q", "--require-hashes", "--python", inside]
    subprocess.run([*sync, *files], check=True)
    return inside


def main() -> int:
    """Exit code 0 when all pass."""
    own = "{}.{}".format(*sys.version_info[:2])
    others = {version: python for version, python in installed().items() if version != own}
    if not others:
        print(f"no other Python from 3.{MINORS[0]} to 3.{MINORS[-1]} is installed here")
        return 1

    failed = []
    for version, python in others.items():
        print(f"Python {version}: {python}", flush=True)
        command = [environment(version, python), "-m", "pytest", "-q", "-n", "2", *TESTS]
        ours = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
        if subprocess.run(command, cwd=ROOT, env=ours, check=False).returncode != 0:
            failed.append(version)

    print(f"fails on Python {', '.join(failed)}" if failed else f"passes on {', '.join(others)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
