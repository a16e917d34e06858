"""
Downloads by coordinates: parallel, verified, resumable file by file; used by `fetch` alone.

The resolver contains the address of the public Maven registry, so this project contains none. It
resolves single files, not dependency trees: reading POMs takes longer than the download. Files are
verified by our checksums, not by those that the registry publishes.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import shutil
import ssl
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Lock

import requests
import truststore
from filelock import FileLock
from jgo.maven import MavenContext
from jgo.maven._resolver import PythonResolver

from orderflow.stack.parts.jars import FetchFailed, Part, Progress, folder, install, is_present

THREADS = 6
ATTEMPTS = 3
TIMEOUT_S = 30
REPORT_EVERY_BYTES = 1_000_000
SPARE_BYTES = 100_000_000


class _DownloadStopped(Exception):
    """Another file failed, or the user gave up: no other file is wanted any more."""


class _Tally:
    """Bytes done so far, over all threads."""

    def __init__(self, done: int, total: int, progress: Progress) -> None:
        self._done, self._total, self._progress = done, total, progress
        self._reported = done
        self._lock = Lock()
        self.stopped = Event()

    def add(self, count: int) -> None:
        if self.stopped.is_set():
            raise _DownloadStopped
        with self._lock:
            self._done += count
            if self._done - self._reported >= REPORT_EVERY_BYTES or self._done == self._total:
                self._reported = self._done
                self._progress(self._done, self._total)

    def take_back(self, count: int) -> None:
        with self._lock:
            self._done -= count
            self._reported = min(self._reported, self._done)


def fetch_missing(
    cache_dir: Path, parts: Sequence[Part], progress: Progress, maven_url: str | None
) -> None:
    """Fetch every part that is not there. Raises FetchFailed; what had arrived by then stays."""
    home = cache_dir / "jars"

    try:
        home.mkdir(parents=True, exist_ok=True)
        with FileLock(home / ".lock"):
            missing = [part for part in parts if not is_present(cache_dir, part, parts)]
            _check_room(home, sum(part.size_bytes for part in missing))

            staging = home / ".staging"
            shutil.rmtree(staging, ignore_errors=True)
            total = sum(part.size_bytes for part in parts)
            tally = _Tally(total - sum(part.size_bytes for part in missing), total, progress)
            with _system_certificates():
                _in_parallel(missing, parts, cache_dir, staging, tally, maven_url)
            shutil.rmtree(staging, ignore_errors=True)
    except OSError as error:
        raise FetchFailed(_disk_trouble(error, home)) from error


def _in_parallel(
    missing: Sequence[Part],
    parts: Sequence[Part],
    cache_dir: Path,
    staging: Path,
    tally: _Tally,
    maven_url: str | None,
) -> None:
    # Two uses may need the same file: one download, else two threads share one staging folder.
    same: dict[str, list[Part]] = defaultdict(list)
    for part in missing:
        same[part.sha256].append(part)

    def fetch(copies: Sequence[Part]) -> None:
        first, *others = copies
        file = _fetch(first, staging / first.sha256, tally, maven_url)
        for part in others:
            copied = Path(shutil.copyfile(file, file.with_name(f"{file.name}.{part.use}")))
            install(copied, part, folder(cache_dir, part.use, parts))
            tally.add(part.size_bytes)
        install(file, first, folder(cache_dir, first.use, parts))

    largest_first = sorted(same.values(), key=lambda copies: -copies[0].size_bytes)
    with ThreadPoolExecutor(THREADS, thread_name_prefix="fetch") as threads:
        futures = [threads.submit(fetch, copies) for copies in largest_first]
        try:
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
        finally:
            tally.stopped.set()
            threads.shutdown(wait=False, cancel_futures=True)
        for future in done:
            future.result()


def _fetch(part: Part, staging: Path, tally: _Tally, maven_url: str | None) -> Path:
    for attempt in range(1, ATTEMPTS + 1):
        shutil.rmtree(staging, ignore_errors=True)
        try:
            file = _download(part, staging, tally, maven_url)
        except requests.exceptions.SSLError as error:
            raise FetchFailed(_certificate_trouble(part)) from error
        except requests.RequestException as error:
            if attempt == ATTEMPTS:
                raise FetchFailed(_network_trouble(part, error)) from error
            continue

        if _sha256(file) == part.sha256:
            return file
        tally.take_back(file.stat().st_size)
        file.unlink()
    raise FetchFailed(
        f"{part.file_name} arrived {ATTEMPTS} times with a wrong checksum and was removed: "
        "something between here and the Maven registry changes files (a proxy, a mirror); "
        "try another network, or set ORDERFLOW_STACK__MAVEN_URL"
    )


def _download(part: Part, staging: Path, tally: _Tally, maven_url: str | None) -> Path:
    group, artifact, version, packaging, *classifier = part.coordinates.split(":")
    counted = 0

    def count(received: int) -> None:
        nonlocal counted
        counted += received
        tally.add(received)

    @contextmanager
    def counting(_name: str, _size: int) -> Iterator[Callable[[int], None]]:
        yield count

    context = MavenContext(
        resolver=PythonResolver(progress_callback=counting),
        repo_cache=staging,
        local_repos=[],
        remote_repos={"configured": maven_url.rstrip("/")} if maven_url else None,
        timeout=TIMEOUT_S,
    )
    wanted = (
        context.project(group, artifact)
        .at_version(version)
        .artifact("".join(classifier), packaging)
    )
    try:
        return Path(wanted.resolve())
    except RuntimeError as error:
        raise FetchFailed(
            f"the Maven registry does not serve {part.coordinates}: "
            "is a proxy or mirror in the way?"
        ) from error
    except requests.RequestException:
        tally.take_back(counted)
        raise


@contextmanager
def _system_certificates() -> Iterator[None]:
    """
    Trust the system's certificates: behind a TLS proxy the bundled roots are not enough.

    Also mutes the resolver's log.
    """
    log = logging.getLogger("jgo")
    level = log.level
    log.setLevel(logging.CRITICAL)
    truststore.inject_into_ssl()
    try:
        yield
    finally:
        truststore.extract_from_ssl()
        log.setLevel(level)


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _check_room(home: Path, missing_bytes: int) -> None:
    needed = 2 * missing_bytes + SPARE_BYTES
    if missing_bytes and shutil.disk_usage(home).free < needed:
        raise OSError(errno.ENOSPC, "no room")


def _disk_trouble(error: OSError, home: Path) -> str:
    if error.errno == errno.ENOSPC:
        return (
            f"the disk of {home} is full: free 600 MB, "
            "or set ORDERFLOW_STACK__CACHE_DIR to another place"
        )
    return (
        f"can't write {home} ({error.strerror or error}): "
        "set ORDERFLOW_STACK__CACHE_DIR to a place you can write"
    )


def _network_trouble(part: Part, error: requests.RequestException) -> str:
    why = "timed out" if isinstance(error, requests.Timeout) else "can't be reached"
    if isinstance(error, requests.exceptions.ProxyError):
        why = "can't be reached through the proxy that HTTPS_PROXY names"
    return (
        f"the Maven registry {why} (wanted {part.file_name}): "
        "check the network, then run the same command again"
    )


def _certificate_trouble(part: Part) -> str:
    return (
        f"the Maven registry's certificate is not trusted (wanted {part.file_name}): "
        "behind a TLS proxy, add its root certificate to the system's "
        f"({ssl.get_default_verify_paths().openssl_cafile}), or name it in SSL_CERT_FILE"
    )
