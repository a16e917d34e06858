"""The row of a process is public: names and order of its fields stay."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from orderflow.stack.supervise.component import Command, Component
from orderflow.stack.supervise.managed import Managed, report


def test_a_stopped_process_has_every_field_of_status_json_in_its_order() -> None:
    component = Component(
        name="order-api", service="order", role="api", command=lambda: Command(argv=("true",))
    )
    row = report(Managed(component, Path("order-api.log"), reason="its supervisor was killed"))
    assert list(asdict(row).items()) == [
        ("name", "order-api"),
        ("service", "order"),
        ("role", "api"),
        ("slot", 0),
        ("pid", None),
        ("address", ""),
        ("state", "stopped"),
        ("health", "unknown"),
        ("restarts", 0),
        ("reason", "its supervisor was killed"),
    ]
