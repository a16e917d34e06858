"""`python -m tests.mutants [name …]`: plant each bug in a scratch copy, run its test there, expect red."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PATCHES = Path(__file__).parent
RESYNC = "tests/integration/kit/test_relay_resync.py"
LISTENER = "tests/integration/kit/test_listener.py"
FAULTS = "tests/integration/kit/test_container_under_faults.py"
SWEEPER = "tests/integration/order/test_sweeper.py"
M2 = "tests/integration/milestones/test_m2_outbox.py"
M3 = "tests/integration/milestones/test_m3_transactions.py"
NOTIFICATION = "tests/integration/notification/test_notification.py"
PYTEST_TESTS_FAILED = 1


@dataclass(frozen=True)
class Mutant:
    """A patch beside this file, and the test that it must break."""

    name: str
    test: str


MUTANTS = (
    Mutant(
        "poller-id-greater-than-last",
        f"{M2}::test_transactions_that_commit_late_or_roll_back_are_told_of_exactly_if_they_commit",
    ),
    Mutant(
        "publish-after-commit-without-outbox",
        f"{M2}::test_killing_the_api_after_the_database_commit_loses_nothing_and_repeats_nothing",
    ),
    Mutant(
        "position-outside-the-transaction",
        f"{M2}::test_killing_the_relay_at_any_line_loses_nothing_and_repeats_nothing[relay.after_kafka_commit-10]",
    ),
    Mutant(
        "fresh-id-on-resend",
        f"{RESYNC}::test_after_a_resync_everything_committed_is_on_the_topic_in_order_and_the_relay_goes_on",
    ),
    Mutant(
        "idle-confirm-before-the-position-commit",
        f"{RESYNC}::test_a_relay_at_rest_confirms_no_more_than_its_position_so_that_a_kill_finds_it_fit",
    ),
    Mutant(
        "tick-not-compared",
        "tests/integration/kit/test_relay_older_copy.py"
        "::test_an_older_copy_of_the_database_is_refused_and_a_resync_loses_nothing[order]",
    ),
    Mutant(
        "read-then-write-stock",
        "tests/integration/inventory/test_inventory_stock.py"
        "::test_four_workers_who_want_the_same_products_reserve_exactly_what_fits",
    ),
    Mutant(
        "cancel-without-compare-and-set",
        f"{SWEEPER}::test_an_order_that_moved_on_while_a_sweeper_was_about_to_cancel_it_stays",
    ),
    Mutant(
        "deadline-beats-an-unread-fact",
        f"{SWEEPER}::test_a_fact_that_nobody_has_read_yet_is_not_beaten",
    ),
    Mutant(
        "group-metadata-fetched-late",
        f"{M3}::test_a_worker_stopped_beyond_its_session_publishes_nothing_that_another_has_taken_over"
        "[listener.before_send_offsets-classic]",
    ),
    Mutant(
        "inbox-outside-the-transaction",
        f"{LISTENER}::test_what_a_worker_was_at_when_it_was_killed_is_done_by_its_successor"
        "[inbox-outbox-listener.before_database_commit]",
    ),
    Mutant(
        "offsets-before-work",
        f"{LISTENER}::test_what_was_finished_beside_a_waiting_record_is_not_even_read_again_after_a_kill[inbox-outbox]",
    ),
    Mutant(
        "no-provider-key",
        "tests/integration/payment/test_payment_gateway.py"
        "::test_a_charge_whose_answer_was_lost_is_sent_again_with_its_payments_key_and_taken_once",
    ),
    Mutant(
        "notifications-without-their-key",
        "tests/integration/tools/test_prove_ordering.py::test_order_survives_workers_that_join_leave_and_are_killed",
    ),
    Mutant(
        "delivery-callback-that-raises",
        "tests/integration/kit/test_transactions_under_faults.py"
        "::test_what_must_be_aborted_is_and_the_same_producer_goes_on[0-MSG_SIZE_TOO_LARGE]",
    ),
    Mutant(
        "producer-resumed-after-an-unknown-commit",
        f"{FAULTS}::test_after_a_commit_without_any_answer_another_producer_goes_on",
    ),
    Mutant(
        "metadata-ignored-at-rebuild",
        f"{LISTENER}::test_what_was_finished_beside_a_waiting_record_is_not_even_read_again_after_a_kill[exactly-once]",
    ),
    Mutant(
        "seek-after-abort",
        f"{FAULTS}::test_the_container_goes_on_and_charges_nobody[28-UNKNOWN_MEMBER_ID]",
    ),
    Mutant(
        "attempts-charged-to-neighbours",
        f"{LISTENER}::test_a_record_that_fails_alone_becomes_a_dead_letter_and_its_neighbours_do_not[exactly-once]",
    ),
    Mutant(
        "fresh-message-id",
        f"{NOTIFICATION}::test_a_sender_killed_at_any_line_loses_no_message_and_repeats_none[notification.after_data-3]",
    ),
    Mutant(
        "outcome-without-compare-and-set",
        f"{NOTIFICATION}::test_a_sender_stopped_beyond_its_lease_breaks_neither_order_nor_numbers_when_it_wakes"
        "[notification.before_outcome]",
    ),
    Mutant(
        "sequence-without-the-row-lock",
        "tests/integration/notification/test_notification_records.py"
        "::test_senders_who_settle_the_same_messages_at_once_give_each_one_number",
    ),
    Mutant(
        "transient-failure-counted-as-an-attempt",
        "tests/integration/milestones/test_m5_waiting_in_place.py"
        "::test_a_resource_that_is_away_is_probed_and_everything_waits_for_it",
    ),
)


def main(names: list[str]) -> int:
    unknown = set(names) - {mutant.name for mutant in MUTANTS}
    if unknown:
        sys.stderr.write(
            f"no mutant {', '.join(sorted(unknown))}; known: {', '.join(m.name for m in MUTANTS)}\n"
        )
        return 2
    survivors = [
        mutant.name
        for mutant in MUTANTS
        if (not names or mutant.name in names) and not _killed(mutant)
    ]
    if survivors:
        sys.stderr.write(f"survived: {', '.join(survivors)}: their tests can't fail\n")
    return 1 if survivors else 0


def _killed(mutant: Mutant) -> bool:
    sys.stdout.write(f"{mutant.name}: ")
    sys.stdout.flush()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="orderflow-mutant-") as scratch:
        _copy(Path(scratch))
        subprocess.run(
            ["git", "apply", str(PATCHES / f"{mutant.name}.patch")], cwd=scratch, check=True
        )
        ran = subprocess.run(
            [
                sys.executable,
                "-m",
                "pytest",
                "-q",
                "-x",
                mutant.test,
                "-m",
                "not soak and not long",
            ],
            cwd=scratch,
            env={**os.environ, "PYTHONPATH": f"{scratch}/src"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
    # Pytest ends the same way when a fixture breaks: that kills nothing.
    killed = ran.returncode == PYTEST_TESTS_FAILED and b"\nFAILED tests/" in ran.stdout
    took_s = time.monotonic() - began
    sys.stdout.write(
        f"{'its test is red, as it must be' if killed else 'SURVIVED'} ({took_s:.0f} s)\n"
    )
    if not killed:
        sys.stdout.write(ran.stdout.decode(errors="replace")[-3000:])
    return killed


def _copy(scratch: Path) -> None:
    """What git knows or would take, as it is in the work tree."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        source, target = ROOT / name, scratch / name
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
            target.chmod(source.stat().st_mode)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
