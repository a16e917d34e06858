"""What database and broker did: commits, statements, log bytes; requests of each kind."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator

import msgspec

from orderflow.bench.service_data import open_connection
from orderflow.stack.addresses import database_url
from orderflow.stack.local_stack import LocalStack
from orderflow.stack.parts import jars
from orderflow.stack.parts.java import java, java_home
from orderflow.stack.supervise.component import plain_environment
from orderflow.trials.harness import pid_of

_DATABASE = """
SELECT sum(xact_commit)::bigint, sum(tup_inserted)::bigint, sum(tup_updated)::bigint,
       pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint
FROM pg_stat_database
"""
REQUESTS = "kafka.network:type=RequestMetrics,name=RequestsPerSec,request=*,version=*"
TRANSACTIONS = "WriteTxnMarkers"
_URL = re.compile(r"service:jmx:rmi:\S+")
_COUNT = re.compile(r"request=(\w+),version=\w+:Count=(\d+)")


class WorkDone(msgspec.Struct, frozen=True, kw_only=True):
    """
    Of all databases together; `requests` of the broker, by kind, empty where nobody counts them.
    """

    commits: int
    inserted: int
    updated: int
    wal_bytes: int
    requests: dict[str, int]

    def since(self, before: WorkDone) -> WorkDone:
        return WorkDone(
            commits=self.commits - before.commits,
            inserted=self.inserted - before.inserted,
            updated=self.updated - before.updated,
            wal_bytes=self.wal_bytes - before.wal_bytes,
            requests={
                kind: count - before.requests.get(kind, 0)
                for kind, count in self.requests.items()
                if count > before.requests.get(kind, 0)
            },
        )


def read(stack: LocalStack, management_url: str) -> WorkDone:
    """What was done until now; see `management_url`."""
    with open_connection(database_url(stack.settings, "postgres")) as connection:
        commits, inserted, updated, wal_bytes = next(iter(connection.execute(_DATABASE)))
    return WorkDone(
        commits=commits,
        inserted=inserted,
        updated=updated,
        wal_bytes=wal_bytes,
        requests=dict(_requests(stack, management_url)),
    )


def management_url(stack: LocalStack) -> str:
    """
    Where the broker answers questions about itself: a socket of this machine, opened when we ask.

    The bundled runtime looks up no names, so the address is the object itself, and not a port.
    """
    ask = (str(java_home() / "bin" / "jcmd"), str(pid_of(stack, "kafka")))
    _output((*ask, "ManagementAgent.start_local"))
    url = _URL.search(_output((*ask, "ManagementAgent.status")))
    return url[0] if url else ""


def _requests(stack: LocalStack, url: str) -> Iterator[tuple[str, int]]:
    """Each kind of request with its number; none if the broker does not tell."""
    command = (
        java(),
        "-Xmx64m",
        "-XX:TieredStopAtLevel=1",
        "-cp",
        jars.locate(stack.settings.cache_dir).kafka_classpath,
        "org.apache.kafka.tools.JmxTool",
        "--jmx-url",
        url,
        "--object-name",
        REQUESTS,
        "--attributes",
        "Count",
        "--one-time",
        "true",
        "--report-format",
        "properties",
    )

    counts: dict[str, int] = {}
    for kind, count in _COUNT.findall(_output(command)):
        counts[kind] = counts.get(kind, 0) + int(count)
    yield from counts.items()


def _output(command: tuple[str, ...]) -> str:
    done = subprocess.run(
        command, env=plain_environment(), capture_output=True, text=True, check=False
    )
    return done.stdout
