"""
`up`, `status`, `demo` and `down` in a shell that holds everything which other work leaves there.

What does not exclude each other stands in one shell, with a name of the state directory that no
program likes and a stranger on the same port of `[::1]`; each kind alone is `long`.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest
from tests.support.stack import RUNNING_STACK, temporary_home
from tests.support.whole_stack import free_offset

from orderflow.stack.ports import HOST

WITHIN_S = 240
NAME = "Übung c\\u0041d 100%25 'a' \"b\" [x] =#!"
UNMASKED = 0o022
NOWHERE = "http://127.0.0.1:9"

DATABASE = {
    "PGHOSTADDR": "192.0.2.1",
    "PGPORT": "1",
    "PGSERVICE": "corp",
    "PGSSLMODE": "require",
    "PGREQUIREAUTH": "scram-sha-256",
    "PGUSER": "somebody",
    "PGOPTIONS": "-c default_transaction_read_only=on",
    "PGCLIENTENCODING": "LATIN1",
}
PROXIES = dict.fromkeys(
    ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), NOWHERE
)
SERVICE_LINKS = {
    "ORDERFLOW_PORT": "tcp://10.0.0.1:80",
    "ORDERFLOW_SERVICE_HOST": "10.0.0.1",
    "ORDERFLOW_SERVICE_PORT_HTTP": "80",
    "ORDERFLOW_PORT_80_TCP_ADDR": "10.0.0.1",
    "ORDERFLOW_ORDER_SERVICE_HOST": "10.0.0.2",
}
ENCODING = {
    "LC_ALL": "C",
    "PYTHONUTF8": "0",
    "PYTHONCOERCECLOCALE": "0",
    "PYTHONIOENCODING": "iso-8859-1",
}
JAVA = {"JAVA_TOOL_OPTIONS": "-Xmx1m", "CLASSPATH": "/nowhere", "KAFKA_OPTS": "-Dx"}
PYTHON = {"PYTHONWARNINGS": "default", "PYTHONOPTIMIZE": "1", "TZ": "Asia/Kolkata"}
FOLLOWER = {"ORDERFLOW_FOLLOWER__DATABASE__DSN": "postgresql://127.0.0.1/recommendation"}


@dataclass(frozen=True)
class Shell:
    """Where commands are called, with these variables and this umask."""

    state: Path
    offset: int
    variables: dict[str, str]
    umask: int

    def run(self, *arguments: str) -> tuple[int, str, str]:
        """Exit code, standard output and standard error, in the encoding of the shell."""
        mine = {name: value for name, value in os.environ.items() if name != RUNNING_STACK}
        done = subprocess.run(
            [sys.executable, "-m", "orderflow.cli.main", *arguments],
            env={
                **mine,
                **self.variables,
                "ORDERFLOW_STACK__STATE_DIR": str(self.state),
                "ORDERFLOW_STACK__PORT_OFFSET": str(self.offset),
                "COLUMNS": "240",
            },
            capture_output=True,
            timeout=WITHIN_S,
            check=False,
            umask=self.umask,
        )
        encoding = self.variables.get("PYTHONIOENCODING", "utf-8").partition(":")[0]
        return done.returncode, done.stdout.decode(encoding), done.stderr.decode(encoding)

    def succeeds(self, *arguments: str) -> tuple[str, str]:
        code, output, complaints = self.run(*arguments)
        assert code == 0, output + complaints
        assert "Traceback" not in output + complaints
        return output, complaints


@contextmanager
def shell(name: str, variables: dict[str, str], umask: int) -> Iterator[Shell]:
    """Nothing of it is left afterwards."""
    with temporary_home() as place:
        hostile = Shell(place / name, free_offset(), variables, umask)
        try:
            yield hostile
        finally:
            hostile.run("down")


def take_goods_away(hostile: Shell) -> None:
    """As somebody does who tries the commands out: withdraw one product, empty another's shelf."""
    with httpx2.Client(trust_env=False, timeout=30) as client:
        product = f"http://{HOST}:{8080 + hostile.offset}/products/HEADSET-01"
        body = {"name": "Headset", "prices": {"EUR": 7900}, "active": False}
        client.put(product, json=body).raise_for_status()

        stock = f"http://{HOST}:{8082 + hostile.offset}/stock/MOUSE-01"
        counted = {"If-Match": client.get(stock).headers["etag"]}
        client.put(stock, json={"onHand": 0}, headers=counted).raise_for_status()


def assert_everything_works(hostile: Shell) -> str:
    """What the demo has shown."""
    hostile.succeeds("up")
    output, _ = hostile.succeeds("status")
    assert "order-api" in output
    shown, _ = hostile.succeeds("demo")
    assert "how they ended" in shown
    _, complaints = hostile.succeeds("down")
    assert "stopped; the data stays" in complaints
    return shown


@pytest.mark.timeout(600)
def test_the_whole_system_works_in_the_most_hostile_shell() -> None:
    everything = DATABASE | PROXIES | SERVICE_LINKS | ENCODING | JAVA | PYTHON | FOLLOWER
    with shell(NAME, everything, 0o277) as hostile, socket.socket(socket.AF_INET6) as stranger:
        port = 8080 + hostile.offset
        stranger.bind(("::1", port))
        stranger.listen(1)

        _, complaints = hostile.succeeds("up")
        assert f"localhost:{port} may lead to" in complaints
        assert f"(pid {os.getpid()}), which listens on [::1]: order-api is at" in complaints
        take_goods_away(hostile)
        shown = assert_everything_works(hostile)
        assert "DEMO-HEADSET-01" in shown
        assert "DEMO-MOUSE-01" in shown
        assert [place.name for place in hostile.state.parent.iterdir()] == [NAME]


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "variables",
    [
        DATABASE,
        PROXIES,
        SERVICE_LINKS,
        {"PYTHONIOENCODING": "ascii:strict"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        JAVA | PYTHON | FOLLOWER,
    ],
    ids=["database", "proxies", "service links", "ascii", "locale C", "other programs"],
)
def test_it_works_with_each_kind_alone(variables: dict[str, str]) -> None:
    with shell("state", variables, UNMASKED) as hostile:
        assert_everything_works(hostile)


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", ["Übung", "c\\u0041d", "100%", "it's", "a b", "[x]"])
def test_it_works_with_each_name_alone(name: str) -> None:
    with shell(name, {}, UNMASKED) as hostile:
        assert_everything_works(hostile)
