"""
Installing into the environment, all by hash: pip fetches the installer, the installer the rest.

The few packages that fetch Java parts come first, so that jars arrive while the other wheels do.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from threading import Thread

from screen import Screen, watch
from trouble import explain

from orderflow.stack.parts import jars


class Failed(Exception):
    """Set-up can't go on; the message says why and what to do."""


def jars_are_there(extras: Sequence[str] = ()) -> bool:
    return jars.are_present(jars.default_cache_dir(), (*jars.CORE, *extras))


class Program:
    """A program in the background: its last line of output so far, and all it complained about."""

    def __init__(self, command: list[str], env: Mapping[str, str]) -> None:
        self._begun = time.monotonic()
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=dict(env),
        )
        self.output: list[str] = []
        self.complaints: list[str] = []
        self.took_s = 0.0

        self._readers = [
            Thread(target=self._read, args=(self.process.stdout, self.output), daemon=True),
            Thread(target=self._read, args=(self.process.stderr, self.complaints), daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, stream: Iterable[str], into: list[str]) -> None:
        into.extend(stream)

    def finished(self) -> bool:
        if self.process.poll() is None:
            return False
        for reader in self._readers:
            reader.join()
        self.took_s = self.took_s or time.monotonic() - self._begun
        return True

    @property
    def code(self) -> int | None:
        return self.process.returncode

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait()


ELSEWHERE = (
    *("PIP_USER", "PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_PYTHON", "PIP_DRY_RUN"),
    *("UV_SYSTEM_PYTHON", "UV_PYTHON", "UV_TARGET", "UV_PREFIX", "UV_DRY_RUN"),
    *("PYTHONHOME", "PYTHONPATH", "PYTHONWARNINGS", "PYTHONOPTIMIZE"),
)
"""What a shell may hold that would have packages put into another place than `.venv`."""


def shell() -> dict[str, str]:
    """The caller's environment, of which indexes, certificates and proxies are wanted."""
    return {name: value for name, value in os.environ.items() if name not in ELSEWHERE}


class Fetch(Program):
    """`orderflow.stack.parts.fetch` as a program that prints its progress."""

    def __init__(self, python: Path, root: Path, extras: Sequence[str]) -> None:
        super().__init__(
            [str(python), "-m", "orderflow.stack.parts.fetch", *extras],
            {**shell(), "PYTHONPATH": str(root / "src")},
        )

    def _read(self, stream: Iterable[str], into: list[str]) -> None:
        for line in stream:
            into[:] = [*into[-20:], line]

    @property
    def megabytes(self) -> tuple[int, int]:
        try:
            now = json.loads(self.output[-1])
        except (IndexError, ValueError):
            return 0, 0
        return now["done"] // 1_000_000, now["total"] // 1_000_000

    @property
    def progress(self) -> str:
        done, total = self.megabytes
        return f"Java parts {done} of {total} MB" if total else "Java parts …"


class Installer:
    """Brings the environment to what the requirements say."""

    def __init__(
        self, *, root: Path, python: Path, screen: Screen, extras: Sequence[str] = ()
    ) -> None:
        self._root, self._python, self._screen = root, python, screen
        self._extras = extras
        self._running: list[Program] = []

    def run(self, groups: list[str], *, java: bool) -> None:
        """The installer, requirements of run time and groups, ourselves, the Java parts."""
        try:
            self._pip(
                ["install", "--require-hashes", "--only-binary", ":all:", "--retries", "2"],
                ["installer"],
            )
            fetch = self._start_fetch() if java and not jars_are_there(self._extras) else None
            self._sync(["installer", "runtime", *groups], fetch)
            self._uv(
                "orderflow",
                "install",
                "--no-deps",
                "--no-build-isolation",
                "--editable",
                str(self._root),
            )
            self._compile_ours()
            if fetch:
                self._wait_for(fetch)
        finally:
            for program in self._running:
                program.stop()

    def jars_only(self) -> None:
        """The Java parts alone: the environment is as it should be."""
        fetch = Fetch(self._python, self._root, self._extras)
        self._running.append(fetch)
        try:
            self._wait_for(fetch)
        finally:
            fetch.stop()

    def _pip(self, command: list[str], requirements: list[str]) -> None:
        program = Program(
            [str(self._python), "-m", "pip", *command, *self._files(requirements)],
            {**shell(), "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
        )
        self._finish("installer (uv)", program)

    def _start_fetch(self) -> Fetch:
        """The fetch needs few packages: it starts long before all others are installed."""
        self._uv("resolver (jgo)", "install", "--require-hashes", *self._files(["fetch"]))
        fetch = Fetch(self._python, self._root, self._extras)
        self._running.append(fetch)
        return fetch

    def _sync(self, requirements: list[str], fetch: Fetch | None) -> None:
        files = [argument for argument in self._files(requirements) if argument != "-r"]
        # Where Python may not write bytecode, a process without it takes three times as long to
        # start.
        self._uv("packages", "sync", "--require-hashes", "--compile-bytecode", *files, beside=fetch)

    def _compile_ours(self) -> None:
        compiler = [str(self._python), "-m", "compileall", "-q", str(self._root / "src")]
        self._finish("bytecode", Program(compiler, shell()))

    def _uv(self, what: str, *arguments: str, beside: Fetch | None = None) -> None:
        command, *rest = arguments

        program = Program(
            [
                str(self._python.parent / "uv"),
                "pip",
                command,
                "--python",
                str(self._python),
                "--no-progress",
                *rest,
            ],
            self._uv_environment(),
        )
        self._finish(what, program, beside)

    def _uv_environment(self) -> dict[str, str]:
        """uv with the system's certificates, the index of pip's configuration, and our cache."""
        cache = str(jars.default_cache_dir() / "uv")
        environment = {
            "UV_SYSTEM_CERTS": "true",
            "UV_PYTHON_DOWNLOADS": "never",
            "UV_CACHE_DIR": cache,
            **shell(),
        }
        if "PIP_INDEX_URL" in environment:
            environment.setdefault("UV_DEFAULT_INDEX", environment["PIP_INDEX_URL"])
        return environment

    def _finish(self, what: str, program: Program, beside: Fetch | None = None) -> None:
        self._running.append(program)
        begun = time.monotonic()

        def doing() -> str:
            more = f" · {beside.progress}" if beside else ""
            return f"{what} {time.monotonic() - begun:.0f} s{more}"

        watch(self._screen, program.finished, doing)
        if program.code != 0:
            raise Failed(explain("".join(program.output + program.complaints)))
        self._screen.done(what, program.took_s)

    def _wait_for(self, fetch: Fetch) -> None:
        watch(self._screen, fetch.finished, lambda: fetch.progress)
        if fetch.code != 0:
            raise Failed(
                "".join(fetch.complaints).strip().splitlines()[-1]
                if fetch.complaints
                else "the fetch ended"
            )
        self._screen.done("Java parts", fetch.took_s, f"{fetch.megabytes[1]} MB, by checksum")

    def _files(self, names: list[str]) -> list[str]:
        """pip wants `-r` before each file, and so does uv's install; its sync takes them bare."""
        return [
            argument
            for name in names
            for argument in ("-r", str(self._root / "requirements" / f"{name}.txt"))
        ]
