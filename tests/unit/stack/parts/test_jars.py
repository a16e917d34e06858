"""The lock of the Java parts, and where they are looked for."""

from __future__ import annotations

import io
import re
import tarfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from orderflow.stack.parts import jars
from orderflow.stack.parts.jars import FetchFailed, Part

PARTS = jars.read_lock()
ARCHIVE = Part("apicurio", "io.apicurio:app:1:tar.gz:all", "a" * 64, 10)
JAR = Part("kafka", "org.apache.kafka:kafka_2.13:4.3.1:jar", "b" * 64, 3)


def test_the_lock_names_every_part_by_coordinates_checksum_and_size_and_no_address() -> None:
    assert Counter(part.use for part in PARTS) == {
        "kafka": 47,
        "apicurio": 1,
        "zipkin": 1,
        "connect": 58,
        "converter": 17,
        "debezium": 1,
        "jdbc-sink": 1,
    }
    assert all(re.fullmatch(r"[0-9a-f]{64}", part.sha256) and part.size_bytes > 0 for part in PARTS)
    assert "//" not in jars.LOCK.read_text()


@pytest.mark.parametrize(
    ("part", "name"),
    [(ARCHIVE, "app-1-all.tar.gz"), (JAR, "kafka_2.13-4.3.1.jar")],
    ids=["classifier", "jar"],
)
def test_a_part_has_the_file_name_that_maven_gives_it(part: Part, name: str) -> None:
    assert part.file_name == name


def test_a_changed_checksum_makes_another_folder_so_that_two_locks_live_side_by_side(
    tmp_path: Path,
) -> None:
    changed = replace(JAR, sha256="c" * 64)
    assert jars.folder(tmp_path, "kafka", [JAR]) != jars.folder(tmp_path, "kafka", [changed])


def test_a_file_of_another_size_does_not_count_as_present(tmp_path: Path) -> None:
    place = jars.folder(tmp_path, "kafka", [JAR])
    place.mkdir(parents=True)
    (place / JAR.file_name).write_bytes(b"ab")
    assert not jars.is_present(tmp_path, JAR, [JAR])
    (place / JAR.file_name).write_bytes(b"abc")
    assert jars.is_present(tmp_path, JAR, [JAR])


def test_an_archive_takes_its_place_only_when_it_is_whole(tmp_path: Path) -> None:
    file, place = tmp_path / ARCHIVE.file_name, tmp_path / "place"
    with tarfile.open(file, "w:gz") as archive:
        member = tarfile.TarInfo("quarkus-run.jar")
        member.size = 3
        archive.addfile(member, io.BytesIO(b"jar"))
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises((EOFError, tarfile.ReadError)):
        jars.install(file, ARCHIVE, place)
    assert not place.exists()
    file.write_bytes(whole)
    jars.install(file, ARCHIVE, place)
    assert (place / "quarkus-run.jar").read_bytes() == b"jar"
    assert not file.exists()


def test_what_is_missing_is_named_with_the_command_that_brings_it(tmp_path: Path) -> None:
    with pytest.raises(
        FetchFailed, match=r".*jar is not in .*48 of 48 missing\): run `make setup`"
    ):
        jars.locate(tmp_path)


def test_zipkin_is_missed_by_nobody_but_who_asks_for_it(tmp_path: Path) -> None:
    for part in jars.read_lock(uses=jars.CORE):
        place = jars.folder(tmp_path, part.use, PARTS)
        place.mkdir(parents=True, exist_ok=True)
        with (place / part.file_name).open("wb") as file:
            file.truncate(part.size_bytes)

    jars.locate(tmp_path)
    assert jars.are_present(tmp_path, jars.CORE)
    assert not jars.are_present(tmp_path, jars.ON_DEMAND)
    with pytest.raises(
        FetchFailed, match=r"exec\.jar is not in .*: run `orderflow up --with zipkin`"
    ):
        jars.zipkin_jar(tmp_path)


def test_the_cache_is_where_the_user_says_or_where_xdg_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("ORDERFLOW_STACK__CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert jars.default_cache_dir() == tmp_path / "orderflow"
    monkeypatch.setenv("ORDERFLOW_STACK__CACHE_DIR", str(tmp_path / "mine"))
    assert jars.default_cache_dir() == tmp_path / "mine"
