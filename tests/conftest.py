"""
A test's folder gives its marker; a missing component fails, it never skips. Long files come first.
"""

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

TESTS = Path(__file__).parent

SECONDS = {
    "integration/milestones/test_stretch_connect.py": 200,
    "integration/drills/test_drills.py": 130,
    "integration/tools/test_bench_smoke.py": 140,
    "integration/notification/test_notification.py": 105,
    "integration/kit/test_container_under_faults.py": 100,
    "integration/milestones/test_m5_rebalance.py": 95,
    "integration/milestones/test_m4_inventory.py": 80,
    "integration/milestones/test_stretch_debezium.py": 100,
    "integration/milestones/test_m3_payment.py": 90,
    "integration/milestones/test_m7_revenue_kills.py": 90,
    "integration/milestones/test_m5_desk.py": 90,
    "integration/milestones/test_m5_waiting_in_place.py": 88,
    "integration/milestones/test_life_cycle.py": 80,
    "integration/tools/test_demo.py": 75,
    "chaos/test_outages_of_the_whole.py": 75,
    "integration/milestones/test_m2_outbox.py": 75,
    "integration/milestones/test_m3_gateway.py": 75,
    "integration/tools/test_books_planted.py": 75,
    "integration/milestones/test_m3_transactions.py": 70,
    "integration/milestones/test_m4_order_of_facts.py": 70,
    "integration/stack/test_local_stack_commands.py": 68,
    "integration/order/test_order_process.py": 65,
    "integration/milestones/test_m5_poison.py": 65,
    "integration/milestones/test_m1_topics_and_order_service.py": 65,
    "integration/milestones/test_m7_revenue.py": 58,
    "integration/milestones/test_m8_traces.py": 65,
    "integration/milestones/test_m8_lag.py": 65,
    "integration/kit/test_relay_older_copy.py": 65,
    "integration/tools/test_prove_ordering.py": 64,
    "integration/milestones/test_stretch_lake.py": 65,
    "integration/kit/test_desk.py": 60,
    "chaos/test_silent_peers.py": 60,
    "integration/kit/test_relay_held.py": 60,
    "integration/milestones/test_followers.py": 58,
    "integration/tools/test_books.py": 55,
    "integration/kit/test_relay_resync.py": 55,
    "integration/order/test_stuck.py": 53,
    "integration/followers/test_replay_of_everything.py": 52,
    "integration/order/test_sweeper.py": 50,
    "integration/milestones/test_m6_registry_outage.py": 45,
    "integration/milestones/test_m6_schemas.py": 45,
    "integration/stack/test_setup.py": 42,
    "integration/kit/test_listener.py": 40,
    "chaos/test_outages.py": 36,
    "integration/kit/test_fenced_instance.py": 30,
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
