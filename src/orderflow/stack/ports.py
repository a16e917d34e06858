"""Ports: whether a port is free, which process has it, and free ports for tests."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterable
from itertools import islice

import psutil

from orderflow.messaging.errors import OrderflowError

HOST = "127.0.0.1"
TEST_PORTS = range(20000, 32000)
"""Below the range of outgoing connections (from 32768), so no connection takes them."""

OF_A_STACK = " of the local stack in "


class PortTaken(OrderflowError):
    """A port that the stack needs belongs to another process."""


def is_free(port: int) -> bool:
    """Whether we could listen there. A socket in TIME_WAIT does not count."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def is_open(port: int, *, timeout_s: float = 1.0) -> bool:
    """Whether a process accepts connections there."""
    try:
        with socket.create_connection((HOST, port), timeout=timeout_s):
            return True
    except OSError:
        return False


def holder(port: int) -> str:
    """The process that listens on the port, if we may see it: `nginx (pid 812)`."""
    try:
        for connection in psutil.net_connections(kind="tcp"):
            listens_at = connection.laddr[1:2] if connection.status == psutil.CONN_LISTEN else ()
            if listens_at == (port,) and connection.pid:
                return _named(connection.pid)
    except psutil.Error:
        pass
    return _named(None)


def _named(pid: int | None) -> str:
    if pid is None:
        return "a process of another user"
    process = psutil.Process(pid)
    return f"{_title(process)} (pid {process.pid})"


def on_the_other_family(ports: Iterable[int]) -> dict[int, str]:
    """
    Who listens on these ports of `[::1]`, where `localhost` may lead as well: port → process.

    Nobody of ours does. Nothing, where the machine does not let us see its sockets.
    """
    wanted = set(ports)
    try:
        listening = {
            connection.laddr.port: connection.pid
            for connection in psutil.net_connections(kind="tcp6")
            if connection.status == psutil.CONN_LISTEN
            and connection.laddr
            and connection.laddr.ip in ("::", "::1")
        }
        return {port: _named(listening[port]) for port in sorted(wanted & listening.keys())}
    except (psutil.Error, OSError):
        return {}


def refuse_taken(port: int, *, purpose: str) -> None:
    """Raise PortTaken, with the holder and what to do, unless the port is free."""
    if is_free(port):
        return

    taker = holder(port)
    # Its supervisor would start a process of a stack again.
    stop_it = (
        "stop that stack, with `orderflow down` in its checkout (`orderflow state list` names it)"
        if OF_A_STACK in taker
        else "stop that process"
    )
    raise PortTaken(
        f"port {port}, wanted for {purpose}, is taken by {taker}: "
        f"{stop_it}, or move all ports with ORDERFLOW_STACK__PORT_OFFSET=1000"
    )


def free_ports(count: int, *, candidates: Iterable[int] = TEST_PORTS, start: int = 0) -> list[int]:
    """`count` ports that are free now; `start` is an offset that differs by process."""
    pool = list(candidates)
    pool = pool[start % len(pool) :] + pool[: start % len(pool)]

    ports = list(islice(filter(is_free, pool), count))
    if len(ports) == count:
        return ports
    raise PortTaken(f"no {count} free ports from {pool[0]} on")


def _title(process: psutil.Process) -> str:
    for ancestor in process.parents():
        words = ancestor.cmdline()
        if "orderflow.stack.supervisor" in words:
            return f"{process.name()}{OF_A_STACK}{json.loads(words[-1])['home']}"
    # A program that was given as an argument has several lines.
    return " ".join(" ".join(process.cmdline() or [process.name()]).split())[:80]
