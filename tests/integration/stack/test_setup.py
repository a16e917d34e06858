"""
Set-up from a bare Python, and fetching the Java parts: failures are one line, and the next run
works.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from orderflow.stack.parts import jars
from orderflow.stack.parts.fetch import fetch_jars, fetch_uses
from orderflow.stack.parts.jars import FetchFailed

ROOT = Path(__file__).parents[3]
SOURCES = (
    "setup",
    "requirements",
    "src",
    "pyproject.toml",
    "hatch_build.py",
    "README.md",
    "LICENSE",
)
WITHIN_S = 240
JAR = "org/example/part/1/part-1.jar"
ARCHIVE = "org/example/app/1/app-1-all.tar.gz"


class Checkout:
    """A copy of this project that nobody has set up yet."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in SOURCES:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, root / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, root / name)

    def set_up(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        own = ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME", "ORDERFLOW_TEST_STACK")
        inherited = {name: value for name, value in os.environ.items() if name not in own}
        return subprocess.run(
            [self.root / "setup" / "run", *arguments],
            env={**inherited, **environment},
            capture_output=True,
            text=True,
            timeout=WITHIN_S,
            check=False,
        )

    def works(self) -> bool:
        command = self.root / ".venv" / "bin" / "orderflow"
        return (
            subprocess.run([command, "--version"], capture_output=True, check=False).returncode == 0
        )


def complaint(done: subprocess.CompletedProcess[str]) -> str:
    """The one line that says what went wrong."""
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("orderflow: ")]
    return line


def test_set_up_survives_no_network_and_a_broken_environment(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path / "checkout")
    nowhere = dict.fromkeys(
        ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"), "http://127.0.0.1:9"
    )
    offline = checkout.set_up(
        **nowhere, NO_PROXY="", no_proxy="", PIP_NO_CACHE_DIR="1", PIP_RETRIES="0"
    )
    assert offline.returncode == 1
    assert "the Python registry can't be reached: check the network" in complaint(offline)

    again = checkout.set_up()
    assert again.returncode == 0, again.stderr
    assert checkout.works()
    assert checkout.set_up().stderr == "", "a second set-up has nothing to do and says nothing"

    python = checkout.root / ".venv" / "bin" / "python"
    python.unlink()
    python.symlink_to("/nowhere/python3")
    rebuilt = checkout.set_up()
    assert rebuilt.returncode == 0, rebuilt.stderr
    assert checkout.works()


def test_a_full_disk_and_an_unknown_group_are_one_line_before_anything_is_made(
    tmp_path: Path,
) -> None:
    checkout = Checkout(tmp_path / "checkout")
    unknown = checkout.set_up("documentation")
    assert "no requirements called 'documentation'" in complaint(unknown)
    sealed = checkout.set_up(ORDERFLOW_STACK__CACHE_DIR="/proc/cache")
    assert sealed.returncode == 1
    assert "/proc" in complaint(sealed)
    assert not (checkout.root / ".venv").exists()


class Repository:
    """A Maven repository on this machine; `asked` is what was fetched from it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.asked: list[str] = []
        repository = self

        class Handler(SimpleHTTPRequestHandler):
            def do_GET(self) -> None:
                repository.asked.append(self.path.lstrip("/"))
                super().do_GET()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(
            ("127.0.0.1", 0), partial(Handler, directory=str(directory))
        )
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def put(self, path: str, content: bytes) -> None:
        (self.directory / path).parent.mkdir(parents=True, exist_ok=True)
        (self.directory / path).write_bytes(content)


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Repository]:
    repository = Repository(tmp_path / "repository")
    thread = Thread(target=repository.server.serve_forever, args=(0.05,))
    thread.start()
    yield repository
    repository.server.shutdown()
    thread.join()
    repository.server.server_close()


@pytest.fixture
def lock(tmp_path: Path, repository: Repository) -> Path:
    """A lock of one jar and one archive, both served."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        archive.addfile(tarfile.TarInfo("quarkus-run.jar"))
    rows = []
    for use, coordinates, path, content in (
        ("kafka", "org.example:part:1:jar", JAR, b"a jar"),
        ("apicurio", "org.example:app:1:tar.gz:all", ARCHIVE, packed.getvalue()),
    ):
        repository.put(path, content)
        rows.append(f"{use} {coordinates} {hashlib.sha256(content).hexdigest()} {len(content)}\n")
    file = tmp_path / "jars.lock"
    file.write_text("".join(rows))
    return file


def test_parts_are_fetched_once_and_told_in_bytes(
    tmp_path: Path, repository: Repository, lock: Path
) -> None:
    progress: list[tuple[int, int]] = []
    parts = fetch_jars(
        tmp_path / "cache",
        lambda done, total: progress.append((done, total)),
        maven_url=repository.url,
        lock=lock,
    )
    assert (parts.apicurio_home / "quarkus-run.jar").exists()
    assert [file.name for file in Path(parts.kafka_classpath).parent.iterdir()] == ["part-1.jar"]
    assert progress[-1][0] == progress[-1][1]
    requests = len(repository.asked)
    assert fetch_jars(tmp_path / "cache", maven_url=repository.url, lock=lock) == parts
    assert len(repository.asked) == requests


def test_a_part_on_demand_is_fetched_only_when_it_is_asked_for(
    tmp_path: Path, repository: Repository, lock: Path
) -> None:
    path = "org/example/traces/1/traces-1-exec.jar"
    repository.put(path, b"big")
    digest = hashlib.sha256(b"big").hexdigest()
    with lock.open("a") as rows:
        rows.write(f"zipkin org.example:traces:1:jar:exec {digest} 3\n")

    fetch_jars(tmp_path / "cache", maven_url=repository.url, lock=lock)
    assert path not in repository.asked
    before = len(repository.asked)
    fetch_uses(tmp_path / "cache", ("zipkin",), maven_url=repository.url, lock=lock)
    assert repository.asked[before:].count(path) == 1
    assert jars.zipkin_jar(tmp_path / "cache", lock=lock).read_bytes() == b"big"


def test_a_file_of_two_uses_is_fetched_once_and_whole_for_both(
    tmp_path: Path, repository: Repository, lock: Path
) -> None:
    digest, size = hashlib.sha256(b"a jar").hexdigest(), len(b"a jar")
    with lock.open("a") as rows:
        rows.write(f"connect org.example:part:1:jar {digest} {size}\n")

    progress: list[tuple[int, int]] = []
    fetch_uses(
        tmp_path / "cache",
        (*jars.CORE, "connect"),
        lambda done, total: progress.append((done, total)),
        maven_url=repository.url,
        lock=lock,
    )
    assert repository.asked.count(JAR) == 1
    places = [jars.place_of(tmp_path / "cache", use, lock=lock) for use in ("kafka", "connect")]
    assert [(place / "part-1.jar").read_bytes() for place in places] == [b"a jar"] * 2
    assert progress[-1][0] == progress[-1][1]


def test_a_wrong_checksum_is_named_and_only_its_file_is_fetched_again(
    tmp_path: Path, repository: Repository, lock: Path
) -> None:
    right = (repository.directory / ARCHIVE).read_bytes()
    repository.put(ARCHIVE, b"x" * len(right))
    with pytest.raises(
        FetchFailed, match=r"app-1-all.tar.gz arrived 3 times with a wrong checksum and was removed"
    ):
        fetch_jars(tmp_path / "cache", maven_url=repository.url, lock=lock)
    assert not list((tmp_path / "cache").rglob("app-1-all.tar.gz"))
    repository.put(ARCHIVE, right)
    repository.put(JAR, b"must not be asked for again")
    fetch_jars(tmp_path / "cache", maven_url=repository.url, lock=lock)
    assert repository.asked.count(JAR) == 1


def test_a_registry_out_of_reach_or_without_the_part_is_one_line_without_an_address(
    tmp_path: Path, repository: Repository, lock: Path
) -> None:
    with pytest.raises(FetchFailed, match="the Maven registry can't be reached") as away:
        fetch_jars(tmp_path / "cache", maven_url="http://127.0.0.1:9", lock=lock)
    (repository.directory / JAR).unlink()
    with pytest.raises(FetchFailed, match=r"does not serve org\.example:part:1:jar") as absent:
        fetch_jars(tmp_path / "cache", maven_url=repository.url, lock=lock)
    assert not any("//" in str(error.value) or "\n" in str(error.value) for error in (away, absent))
