"""An S3-compatible store as a process of its own, and what DuckDB reads in a lake's files."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import httpx2
import obstore
from obstore.store import S3Store

from orderflow.messaging.testing.eventually import eventually
from orderflow.stack.ports import HOST, free_ports

KEY = "test"
PAYMENTS = "payments/*/*/*.parquet"


@dataclass
class LakeStore:
    """moto's server: objects in memory; it compares the versions of conditional writes."""

    url: str
    popen: subprocess.Popen[bytes]

    def make_bucket(self, name: str) -> None:
        httpx2.put(f"{self.url}/{name}", timeout=10, trust_env=False).raise_for_status()

    def environment(self, bucket: str) -> Mapping[str, str]:
        """The exporter's settings."""
        return {
            "ORDERFLOW_LAKE__STORE__URL": f"s3://{bucket}/below/here",
            "ORDERFLOW_LAKE__STORE__ENDPOINT": self.url,
            "ORDERFLOW_LAKE__STORE__ACCESS_KEY_ID": KEY,
            "ORDERFLOW_LAKE__STORE__SECRET_ACCESS_KEY": KEY,
            "ORDERFLOW_LAKE__STORE__TIMEOUT_S": "1",
        }

    def fall_silent(self) -> None:
        self.popen.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self.popen.send_signal(signal.SIGCONT)

    def download(self, bucket: str, to: Path) -> None:
        """All its objects, as files."""
        store = S3Store(
            bucket,
            prefix="below/here",
            endpoint=self.url,
            access_key_id=KEY,
            secret_access_key=KEY,
            region="us-east-1",
            client_options={"allow_http": True},
        )
        for page in obstore.list(store):
            for meta in page:
                file = to / meta["path"]
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(bytes(obstore.get(store, meta["path"]).bytes()))


@contextmanager
def lake_store(logs: Path) -> Iterator[LakeStore]:
    [port] = free_ports(1, start=os.getpid() * 7 + 13_000)
    with (logs / "store.log").open("wb") as log:
        popen = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", HOST, "-p", str(port)],
            stdout=log,
            stderr=log,
        )
    store = LakeStore(f"http://{HOST}:{port}", popen)

    def answers() -> bool:
        assert popen.poll() is None, (logs / "store.log").read_text()
        with httpx2.Client(timeout=2, trust_env=False) as client:
            try:
                return client.get(f"{store.url}/moto-api/").is_success
            except httpx2.TransportError:
                return False

    try:
        eventually(answers, within_s=30, why="the store answers")
        yield store
    finally:
        store.go_on()
        popen.kill()
        popen.wait(10)


def query(root: Path, select: str) -> list[tuple[Any, ...]]:
    """What DuckDB answers to `select … FROM lake`: all payments under the root."""
    files = f"read_parquet('{root}/{PAYMENTS}', union_by_name = true, hive_partitioning = true)"
    with duckdb.connect() as connection:
        connection.execute(f"CREATE VIEW lake AS SELECT * FROM {files}")
        return connection.execute(select).fetchall()
