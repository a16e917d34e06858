"""`orderflow logs --order`: one order's lines, or what to do instead."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from orderflow.cli import logs as module
from orderflow.messaging.errors import OrderflowError

ORDER = "019a7c1e-0000-7000-8000-000000000001"
OTHER = "019a7c1e-0000-7000-8000-000000000002"


@pytest.fixture(autouse=True)
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "instance", lambda _brokers: SimpleNamespace(logs=tmp_path))
    for second, name, level in ((2, "payment", "error"), (1, "order-api", "info")):
        line = {
            "timestamp": f"2026-11-28T09:05:0{second}.250000Z",
            "level": level,
            "message": f"{name} said something",
            "order_id": ORDER,
        }
        (tmp_path / f"{name}.log").write_text(f"{json.dumps(line)}\n")


def test_the_lines_of_an_order_come_in_time_order_as_text(
    capsys: pytest.CaptureFixture[str],
) -> None:
    module.logs(order=ORDER.upper())
    assert capsys.readouterr().out.splitlines() == [
        "09:05:01.250  order-api              order-api said something",
        "09:05:02.250  payment                ERROR payment said something",
    ]


def test_the_lines_of_an_order_come_as_json_of_one_process_if_one_is_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    module.logs("payment", order=ORDER, as_json=True)
    (line,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert (line["name"], line["order_id"], line["level"]) == ("payment", ORDER, "error")


def test_what_is_no_id_is_refused_and_nothing_found_says_what_to_do() -> None:
    with pytest.raises(OrderflowError, match="'; rm -rf' is no order id"):
        module.logs(order="; rm -rf")
    instead = f"orderflow tail orders --from-beginning --key {OTHER}"
    with pytest.raises(OrderflowError, match=instead):
        module.logs(order=OTHER)
