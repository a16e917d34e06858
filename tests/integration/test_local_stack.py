"""The local stack in one process: what starts, what is served, what a stop and a start of a component do."""

from __future__ import annotations

from tests.support.stack import OwnStack

from orderflow.stack.ports import is_open


def test_a_component_can_be_stopped_and_started_by_name(own_stack: OwnStack) -> None:
    port = int(own_stack.bootstrap_servers.rpartition(":")[2])
    own_stack.stop("kafka")
    assert not is_open(port)
    own_stack.start("kafka")
    assert is_open(port)
