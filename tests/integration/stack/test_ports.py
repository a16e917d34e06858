"""Free ports for tests, benchmarks and proofs; who else listens on ours."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from orderflow.messaging.testing.eventually import eventually
from orderflow.stack import preflight
from orderflow.stack.ports import (
    HOST,
    PortTaken,
    free_ports,
    is_free,
    is_open,
    on_the_other_family,
    refuse_taken,
)


def test_as_many_free_ports_are_given_as_are_wanted_and_none_for_none() -> None:
    ports = free_ports(3, start=11)
    assert len(set(ports)) == 3
    assert free_ports(0) == []


def test_a_port_that_is_taken_is_not_given_and_too_few_are_refused() -> None:
    [port] = free_ports(1, start=23)
    with socket.create_server((HOST, port)):
        assert free_ports(1, candidates=[port, port + 1]) != [port]
        with pytest.raises(PortTaken, match="no 1 free ports"):
            free_ports(1, candidates=[port])


@pytest.fixture
def stranger() -> socket.socket:
    """Somebody who listens on a port of `[::1]` alone."""
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            pytest.fail("this machine has no [::1]")
    (port,) = free_ports(1)
    listener = socket.socket(socket.AF_INET6)
    listener.bind(("::1", port))
    listener.listen(1)
    return listener


def test_who_listens_on_the_other_family_is_named_and_is_not_in_our_way(
    stranger: socket.socket, tmp_path: Path
) -> None:
    with stranger:
        port = stranger.getsockname()[1]
        assert is_free(port)
        assert preflight._taken([port], tmp_path) == {}
        assert "(pid " in on_the_other_family([port, port + 1])[port]
    assert on_the_other_family([port]) == {}


def test_of_two_who_listen_on_a_port_the_one_in_our_way_is_named(
    stranger: socket.socket, tmp_path: Path
) -> None:
    port = stranger.getsockname()[1]
    with stranger, socket.socket() as ours:
        ours.bind((HOST, port))
        ours.listen(1)
        assert preflight._listening()[port] == str(os.fstat(ours.fileno()).st_ino)
        assert port in preflight._taken([port], tmp_path)


LISTENS = """
import socket, sys, time
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
time.sleep(60)
"""
STARTS = """
import subprocess, sys
subprocess.run([sys.executable, "-c", sys.argv[1], sys.argv[2]])
"""


def refused(port: int, *command: str) -> str:
    """What is said of a port that this command's process, or its child, has."""
    with subprocess.Popen([sys.executable, "-c", *command], process_group=0) as taker:
        try:
            eventually(lambda: is_open(port), within_s=20)
            with pytest.raises(PortTaken) as taken:
                refuse_taken(port, purpose="order-api")
        finally:
            os.killpg(taker.pid, signal.SIGKILL)
    return str(taken.value)


def test_who_has_a_port_is_named_in_one_line_with_what_to_do() -> None:
    [port] = free_ports(1, start=31)
    said = refused(port, LISTENS, str(port))
    assert "\n" not in said
    assert "import socket, sys, time listener" in said
    assert "stop that process, or move all ports" in said


def test_a_port_of_another_stack_is_freed_by_its_own_command() -> None:
    [port] = free_ports(1, start=37)
    supervisor = ("orderflow.stack.supervisor", '{"home": "/somewhere"}')
    said = refused(port, STARTS, LISTENS, str(port), *supervisor)
    assert "of the local stack in /somewhere (pid " in said
    assert "`orderflow down` in its checkout" in said
