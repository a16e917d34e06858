"""Free ports for tests, benchmarks and proofs; who else listens on ours."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from orderflow.stack import preflight
from orderflow.stack.ports import HOST, PortTaken, free_ports, is_free, on_the_other_family


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
