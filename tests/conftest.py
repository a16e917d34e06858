"""
A test's folder gives its marker; a missing component fails, it never skips. Long files come first.
"""

import os
import signal
from collections import defaultdict
from operator import itemgetter
from pathlib import Path

import pytest
from hypothesis import settings

pytest_plugins = [
    "tests.support.campaigns",
    "tests.support.log_lines",
    "tests.support.mock_cluster",
    "tests.support.stack",
]

# How wide a table is, with one worker or with more: a worker's terminal library sets it.
os.environ.setdefault("COLUMNS", "80")

TESTS = Path(__file__).parent

SECONDS = {
    "chaos/test_outages_of_the_whole.py": 275,
    "integration/milestones/test_m4_inventory.py": 273,
    "integration/tools/test_bench_smoke.py": 272,
    "integration/milestones/test_m5_desk.py": 243,
    "integration/milestones/test_stretch_connect.py": 240,
    "integration/milestones/test_m8_traces.py": 212,
    "integration/stack/test_local_stack_commands.py": 203,
    "integration/milestones/test_stretch_books_of_copies.py": 189,
    "integration/notification/test_notification.py": 185,
    "integration/kit/test_container_under_faults.py": 156,
    "integration/tools/test_demo.py": 150,
    "integration/milestones/test_m3_transactions.py": 146,
    "integration/milestones/test_m4_order_of_facts.py": 146,
    "integration/milestones/test_life_cycle.py": 145,
    "integration/milestones/test_stretch_debezium.py": 142,
    "integration/followers/test_replay_of_everything.py": 141,
    "integration/kit/test_desk.py": 138,
    "integration/tools/test_random_clients.py": 137,
    "integration/order/test_order_process.py": 123,
    "integration/tools/test_prove_ordering.py": 118,
    "integration/milestones/test_m2_outbox.py": 117,
    "integration/drills/test_drills.py": 116,
    "integration/milestones/test_m5_waiting_in_place.py": 116,
    "integration/milestones/test_m3_payment.py": 114,
    "integration/milestones/test_m1_topics_and_order_service.py": 113,
    "integration/kit/test_relay_older_copy.py": 113,
    "integration/kit/test_relay_resync.py": 113,
    "integration/tools/test_books_planted.py": 111,
    "integration/milestones/test_m5_poison.py": 110,
    "integration/milestones/test_followers.py": 108,
    "integration/milestones/test_m7_revenue_kills.py": 100,
    "integration/stack/test_hostile_shell.py": 99,
    "integration/milestones/test_m7_revenue.py": 97,
    "integration/milestones/test_m8_lag.py": 96,
    "integration/milestones/test_m3_gateway.py": 91,
    "integration/order/test_stuck.py": 91,
    "integration/order/test_sweeper.py": 88,
    "integration/milestones/test_m6_schemas.py": 87,
    "integration/tools/test_query_plans.py": 83,
    "integration/drills/test_drill_command.py": 83,
    "chaos/test_silent_peers.py": 78,
    "integration/tools/test_books.py": 74,
    "integration/milestones/test_m5_rebalance.py": 74,
    "integration/stack/test_setup.py": 71,
    "integration/milestones/test_stretch_lake.py": 64,
    "integration/milestones/test_m6_registry_outage.py": 62,
    "integration/kit/test_relay_held.py": 57,
    "integration/kit/test_listener.py": 51,
    "integration/tools/test_tail.py": 50,
    "chaos/test_outages.py": 45,
    "integration/tools/test_operations_api.py": 43,
}
"""
Roughly, by file: `make test` prints at its end what each took. What is not here is short.

The workers of `make test` take whole files in this order, so that none begins a long one at the
end.
"""
SLOW_FILE_S = 40

# A parent in the background ignores SIGINT, and the processes of the tests would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


# A deadline would fail a test because the machine is busy.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        item.add_marker(item.path.relative_to(TESTS).parts[0])
    items.sort(key=lambda item: -SECONDS.get(item.path.relative_to(TESTS).as_posix(), 0))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the files that took long, the longest first: the table above is made of these lines."""
    seconds: dict[str, float] = defaultdict(float)
    for outcome in ("passed", "failed", "error", ""):
        for report in terminalreporter.getreports(outcome):
            if isinstance(report, pytest.TestReport):
                seconds[report.nodeid.partition("::")[0]] += report.duration

    slow = [
        (file, took_s)
        for file, took_s in sorted(seconds.items(), key=itemgetter(1), reverse=True)
        if took_s > SLOW_FILE_S
    ]
    if slow:
        terminalreporter.section("slowest files")
        for file, took_s in slow:
            terminalreporter.line(f"{took_s:>5.0f} s  {file}")
