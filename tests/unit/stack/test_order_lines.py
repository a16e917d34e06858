"""All that the processes said of one order, merged."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from orderflow.stack.order_lines import order_line, order_lines

ORDER = "019a7c1e-0000-7000-8000-000000000001"
OTHER = "019a7c1e-0000-7000-8000-000000000002"


def written(path: Path, *lines: dict[str, Any] | str) -> Path:
    whole = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_text("".join(f"{line}\n" for line in whole))
    return path


def line(second: int, message: str = "said", **fields: Any) -> dict[str, Any]:
    return {
        "timestamp": f"2026-11-28T09:05:{second:02d}.250000Z",
        "level": "info",
        "message": message,
        **fields,
    }


def test_lines_of_all_files_and_of_what_was_cut_off_come_in_the_order_of_their_times(
    tmp_path: Path,
) -> None:
    written(tmp_path / "order-api.log.1", line(1, order_id=ORDER))
    paths = [
        written(tmp_path / "order-api.log", line(5, key=ORDER), line(6, order_id=OTHER)),
        written(
            tmp_path / "payment-listener.log",
            f"not JSON, though it has {ORDER}",
            line(3, correlation=ORDER),
            line(4, why=f"it only mentions {ORDER}"),
            line(2, keys=[OTHER, ORDER]),
            json.dumps([ORDER]),
            line(7, order_id=ORDER, message_id=1) | {"timestamp": "never"},
        ),
        tmp_path / "missing.log",
    ]
    found = order_lines(paths, ORDER)
    assert [(each.at.second, each.source) for each in found] == [
        (1, "order-api"),
        (2, "payment-listener"),
        (3, "payment-listener"),
        (5, "order-api"),
    ]


def text_of(**fields: Any) -> str:
    found = order_line("x", json.dumps(line(1, **fields)), ORDER)
    assert found is not None
    return found.text


def test_a_line_tells_what_happened_in_words() -> None:
    place = {"topic": "orders", "partition": 2, "offset": 17, "group": "payment-service"}
    record = {"order_id": ORDER, "event": "OrderCreated", **place, "trace_id": "0af7"}
    assert text_of(**record, outcome="handled") == (
        "OrderCreated (orders-2@17) handled by payment-service"
    )
    assert text_of(**record, outcome="dead letter", attempts=3, waited_ms=32_100) == (
        "OrderCreated (orders-2@17) became a dead letter of payment-service, "
        "after 3 failed attempts, 32.1 s after the first"
    )
    assert (
        text_of(
            message="published",
            keys=[ORDER],
            keys_count=3,
            publisher="relay.order",
            types={"OrderCreated": 3},
            records=3,
        )
        == "3 OrderCreated published by relay.order, with records of 2 other keys"
    )
    assert text_of(
        message="a record failed, and waits in place", key=ORDER, record="orders-2@17", attempt=1
    ) == ("a record failed, and waits in place  orders-2@17  attempt=1")


def test_a_few_lines_are_found_quickly_among_many(tmp_path: Path) -> None:
    noise = json.dumps(line(1, order_id=OTHER, padding="x" * 200))
    path = written(tmp_path / "a.log", *[noise] * 30_000, line(2, order_id=ORDER))
    began = time.process_time()
    assert len(order_lines([path], ORDER)) == 1
    assert time.process_time() - began < 0.5
