"""Free ports for tests, benchmarks and proofs."""

from __future__ import annotations

import socket

import pytest

from orderflow.stack.ports import HOST, PortTaken, free_ports


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
