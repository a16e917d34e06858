"""
`python -m tests.mutants [name …]`: plant each bug in a scratch copy, run its test there, expect it
to fail.
"""

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
PYTEST_TESTS_FAILED = 1
OUTPUT_MAX = 3_000

MUTANTS = {
    "tests/integration/kit/test_inbox.py": {
        "inbox-forgets-by-itself": ("test_a_row_is_kept_for_as_long_as_the_cluster_keeps_records"),
    },
    "tests/integration/order/test_order_list.py": {
        "page-in-the-order-of-ids": "test_no_page_reads_more_orders_than_it_needs",
    },
    "tests/integration/followers/test_analytics.py": {
        "funnel-keeps-who-left": (
            "test_the_same_feed_in_any_order_at_any_number_of_workers_makes_the_same_funnel"
        ),
    },
    "tests/integration/tools/test_query_plans.py": {
        "whole-table-at-a-start": "test_no_statement_reads_a_growing_table_as_a_whole[50000]",
        "history-joined-with-what-was-updated": (
            "test_no_statement_compares_two_lists_of_a_batch_each_with_each[50000]"
        ),
    },
    "tests/integration/tools/test_warehouse_table.py": {
        "warehouse-row-goes-back": "test_a_row_never_goes_back[events1]",
    },
    "tests/unit/services/lake/test_objects.py": {
        "lake-named-by-the-batch": "test_no_batch_puts_a_record_into_another_object",
    },
    "tests/unit/services/lake/test_local_store.py": {
        "lake-written-without-comparing": "test_only_the_version_that_was_read_is_replaced",
    },
    "tests/unit/messaging/container/test_idempotent_delivery.py": {
        "lake-offsets-before-the-write": (
            "test_nothing_is_acknowledged_while_the_store_is_away_and_it_heals_by_itself"
        ),
    },
    "tests/unit/books/test_settling.py": {
        "mark-before-the-reading": "test_an_account_that_changes_meanwhile_gets_a_new_mark",
        "suspect-not-read-again": "test_what_arrives_was_in_flight",
        "in-flight-for-ever": "test_a_loss_is_found_behind_changes",
    },
    "tests/unit/books/test_store.py": {
        "books-positions-apart": "test_a_kill_in_the_middle_leaves_nothing",
    },
    "tests/integration/kit/test_fenced_instance.py": {
        "lone-fencing-ends-the-worker": (
            "test_a_worker_that_is_fenced_by_its_own_lost_join_joins_again"
        ),
    },
    "tests/unit/messaging/container/test_record_traces.py": {
        "spans-before-the-commit": "test_an_aborted_transaction_leaves_no_span",
        "trace-of-the-cause": "test_a_record_its_processing_and_what_it_caused_are_one_trace",
    },
    "tests/unit/services/order/test_traces.py": {
        "trace-of-the-request": (
            "test_whoever_changes_an_order_continues_the_orders_trace_and_is_linked_to_the_own"
        ),
    },
    "tests/unit/messaging/telemetry/test_trace_context.py": {
        "client-decides-what-is-recorded": "test_a_client_does_not_decide_what_is_recorded[01]",
    },
    "tests/unit/messaging/telemetry/test_metrics.py": {
        "headings-of-everything": "test_a_process_exports_only_what_it_does",
    },
    "tests/unit/messaging/http/test_snapshot.py": {
        "readiness-asked-in-each-request": "test_an_answer_asks_nobody_and_says_how_old_it_is",
    },
    "tests/unit/messaging/test_plain_reasons.py": {
        "driver-text-in-reasons": "test_what_is_wrong_with_a_database_is_told_by_its_code",
    },
    "tests/unit/messaging/container/test_metrics.py": {
        "sent-before-the-commit": (
            "test_messages_count_as_sent_once_their_transaction_is_committed"
        ),
    },
    "tests/unit/messaging/streams/test_exactly_once_with_state.py": {
        "store-written-before-the-commit": "test_nothing_of_an_aborted_transaction_stays",
        "overlay-kept-after-an-abort": (
            "test_what_was_folded_in_an_aborted_transaction_is_folded_again_once_without_facts_too"
        ),
        "fact-by-offset": (
            "test_each_fact_counts_once_for_good_also_beside_itself_and_after_a_restart"
        ),
    },
    "tests/unit/messaging/streams/test_restore.py": {
        "undone-commit-kept": (
            "test_a_store_whose_last_commit_was_undone_by_the_brokers_is_set_aside"
        ),
    },
    "tests/unit/messaging/relay/test_held_rows.py": {
        "later-row-of-a-held-key-sent": (
            "test_a_later_row_of_a_held_key_waits_behind_it_and_others_go"
        ),
        "position-before-the-held-row": (
            "test_a_row_is_held_once_and_sent_once_wherever_the_relay_is_killed"
        ),
        "rows-before-a-held-one-held": (
            "test_what_is_before_a_refused_row_in_its_transaction_goes"
        ),
    },
    "tests/unit/messaging/container/test_partition.py": {
        "restored-window-never-fetched": (
            "test_a_paused_partition_is_fetched_again_if_its_restored_window_is_still_to_come"
        ),
    },
    "tests/contract/test_schemas.py": {
        "repartition-keyed-by-payment": (
            "test_every_event_says_first_whom_it_is_about_and_also_when_it_happened"
            "[CustomerRevenueChange]"
        ),
    },
    "tests/integration/kit/test_changelog_reader.py": {
        "restore-stops-at-the-last-record": (
            "test_markers_and_aborted_records_at_the_end_are_passed"
        ),
    },
    "tests/unit/messaging/container/test_log_without_the_offset.py": {
        "known-offsets-of-another-log": (
            "test_a_group_beyond_the_end_of_the_log_handles_all_that_comes[True]"
        ),
    },
    "tests/integration/milestones/test_m2_outbox.py": {
        "poller-id-greater-than-last": "test_a_late_transaction_is_published_exactly_if_it_commits",
        "publish-after-commit-without-outbox": (
            "test_killing_the_api_after_the_database_commit_loses_nothing_and_repeats_nothing"
        ),
        "position-outside-the-transaction": (
            "test_killing_the_relay_at_any_line_loses_nothing_and_repeats_nothing"
            "[relay.after_kafka_commit-1]"
        ),
    },
    "tests/integration/kit/test_relay_resync.py": {
        "fresh-id-on-resend": "test_after_a_resync_everything_committed_is_on_the_topic_in_order",
        "idle-confirm-before-the-position-commit": (
            "test_an_idle_relay_confirms_no_more_than_its_committed_position"
        ),
    },
    "tests/integration/kit/test_relay_older_copy.py": {
        "tick-not-compared": (
            "test_an_older_copy_of_the_database_is_refused_and_a_resync_loses_nothing[order]"
        ),
    },
    "tests/unit/messaging/relay/test_start_decision.py": {
        "followed-position-forgiven-all": (
            "test_a_position_that_follows_the_slot_may_be_behind_it_and_nothing_else_is_forgiven"
        ),
    },
    "tests/integration/inventory/test_inventory_stock.py": {
        "read-then-write-stock": (
            "test_four_workers_who_want_the_same_products_reserve_exactly_what_fits"
        ),
        "stock-take-without-its-precondition": (
            "test_a_stock_take_corrects_what_it_saw_and_nothing_that_moved_since"
        ),
        "shipment-without-its-movement": (
            "test_whatever_happens_to_stock_its_movements_add_up_to_it"
        ),
    },
    "tests/integration/order/test_placing.py": {
        "prices-of-the-start": ("test_what_is_charged_is_what_the_catalogue_shows_at_every_moment"),
        "judged-before-the-key": (
            "test_the_same_request_again_gets_the_first_answer_whatever_has_become_of_the_catalogue"
        ),
    },
    "tests/integration/order/test_sweeper.py": {
        "cancel-without-compare-and-set": (
            "test_an_order_that_moved_on_while_a_sweeper_was_about_to_cancel_it_stays"
        ),
        "deadline-beats-an-unread-fact": "test_a_fact_that_nobody_has_read_yet_is_not_beaten",
    },
    "tests/integration/milestones/test_m3_transactions.py": {
        "group-metadata-fetched-late": (
            "test_a_worker_stopped_beyond_its_session_time_out_publishes_nothing_twice"
            "[listener.before_send_offsets-classic]"
        ),
        "inbox-outside-the-transaction": (
            "test_killing_one_of_two_workers_at_any_line_loses_nothing_and_repeats_nothing"
            "[inbox-outbox-listener.before_database_commit-1]"
        ),
    },
    "tests/integration/kit/test_listener.py": {
        "missing-topic-waited-out": (
            "test_while_a_dead_letter_topic_is_missing_good_records_commit_and_the_letter_follows"
        ),
        "offsets-before-work": (
            "test_records_finished_beside_a_waiting_one_are_not_handled_again_after_a_kill"
            "[inbox-outbox]"
        ),
        "metadata-ignored-at-rebuild": (
            "test_records_finished_beside_a_waiting_one_are_not_handled_again_after_a_kill"
            "[exactly-once]"
        ),
        "attempts-charged-to-neighbours": (
            "test_a_record_that_fails_alone_becomes_a_dead_letter_and_its_neighbours_do_not"
            "[exactly-once]"
        ),
    },
    "tests/integration/kit/test_desk.py": {
        "disposition-in-another-transaction": (
            "test_a_desk_killed_at_any_line_sends_nothing_twice_and_loses_nothing"
            "[desk.after_commit]"
        ),
        "decided-before-the-fence": (
            "test_a_desk_that_stood_still_while_another_one_worked_sends_nothing_twice"
            "[desk.before_fence]"
        ),
        "dispositions-behind-an-open-transaction": (
            "test_what_an_open_transaction_hides_is_waited_for"
        ),
        "unknown-replay-sent-again": (
            "test_a_commit_without_an_answer_is_looked_up_and_not_sent_again[True]"
        ),
    },
    "tests/unit/messaging/dead_letters/test_letter.py": {
        "fresh-id-on-replay": "test_what_is_sent_back_is_the_record_as_it_was",
    },
    "tests/unit/messaging/dead_letters/test_letter_index.py": {
        "younger-letter-overtakes": "test_a_letter_does_not_overtake_an_older_one_that_stays",
    },
    "tests/unit/messaging/container/test_replay_beside_source.py": {
        "two-records-of-a-key-in-a-wave": (
            "test_a_replay_and_a_record_of_its_key_are_never_in_one_wave[False-inbox-outbox]"
        ),
    },
    "tests/unit/messaging/container/test_prepare_stage.py": {
        "two-records-of-a-key-prepared": (
            "test_records_of_one_key_in_two_partitions_are_two_batches_and_never_two_calls"
        ),
    },
    "tests/unit/services/payment/test_model.py": {
        "hour-of-the-payment": ("test_each_record_waits_for_an_answer_from_its_own_first_look_up"),
    },
    "tests/unit/services/payment/test_listener.py": {
        "cancellation-given-up": (
            "test_a_cancellation_in_the_last_minute_of_an_unanswered_hour_has_an_hour_of_its_own"
        ),
    },
    "tests/unit/services/payment/test_gateway.py": {
        "pending-is-a-decline": (
            "test_an_answer_that_says_nothing_about_the_money_ends_no_payment[pending]"
        ),
    },
    "tests/integration/payment/test_payment_records.py": {
        "ledger-without-captures": (
            "test_under_crashes_and_lost_answers_each_payment_is_taken_"
            "and_refunded_once[keys known]"
        ),
        "capture-of-a-closed-order-kept": (
            "test_a_capture_that_is_recorded_for_a_closed_order_is_owed_by_the_same_transaction"
        ),
        "closing-seen-as-it-was": (
            "test_what_is_committed_while_an_outcome_waits_for_its_order_is_seen_by_it"
        ),
    },
    "tests/integration/payment/test_payment_gateway.py": {
        "no-provider-key": (
            "test_a_charge_whose_answer_was_lost_is_repeated_with_its_key_and_taken_once"
        ),
    },
    "tests/integration/tools/test_prove_ordering.py": {
        "notifications-without-their-key": (
            "test_order_survives_workers_that_join_leave_and_are_killed"
        ),
    },
    "tests/integration/kit/test_transactions_under_faults.py": {
        "delivery-callback-that-raises": (
            "test_what_must_be_aborted_is_and_the_same_producer_goes_on[0-MSG_SIZE_TOO_LARGE]"
        ),
    },
    "tests/integration/kit/test_container_under_faults.py": {
        "producer-resumed-after-an-unknown-commit": (
            "test_after_a_commit_without_any_answer_another_producer_goes_on"
        ),
        "seek-after-abort": "test_the_container_goes_on_and_charges_nobody[28-UNKNOWN_MEMBER_ID]",
    },
    "tests/unit/services/notification/test_story.py": {
        "held-fact-told-at-once": (
            "test_the_whole_story_is_told_in_its_order_however_it_is_heard[delivered]"
        ),
    },
    "tests/integration/notification/test_notification.py": {
        "fresh-message-id": (
            "test_a_sender_killed_at_any_line_loses_no_message_and_repeats_none"
            "[notification.after_data-1]"
        ),
        "outcome-without-compare-and-set": (
            "test_a_sender_stopped_beyond_its_lease_breaks_neither_order_nor_numbers"
            "[notification.before_outcome]"
        ),
    },
    "tests/integration/notification/test_mailer.py": {
        "silence-blames-the-last-letter": (
            "test_of_letters_in_flight_the_first_without_a_reply_is_in_doubt_and_the_others_go_on"
        ),
    },
    "tests/integration/notification/test_notification_records.py": {
        "sequence-without-the-row-lock": (
            "test_senders_who_settle_the_same_messages_at_once_give_each_one_number"
        ),
    },
    "tests/integration/milestones/test_m5_waiting_in_place.py": {
        "transient-failure-counted-as-an-attempt": (
            "test_a_resource_that_is_away_is_probed_and_everything_waits_for_it"
        ),
    },
    "tests/unit/messaging/container/test_contention.py": {
        "contention-closes-the-gate": (
            "test_what_met_a_lock_runs_alone_and_the_others_go_on_in_full_waves"
        ),
        "contention-counted-as-an-attempt": (
            "test_a_record_that_meets_a_lock_for_an_hour_is_no_dead_letter_and_is_tried_soon_after"
        ),
    },
    "tests/unit/messaging/container/test_waves.py": {
        "record-fault-suspects-the-handler": (
            "test_a_record_fault_is_charged_although_the_handler_is_suspected"
        ),
    },
    "tests/unit/messaging/container/test_transactions.py": {
        "letters-among-the-others": (
            "test_good_records_are_committed_while_no_letter_can_be_written"
        ),
        "refused-output-sent-for-ever": (
            "test_a_record_whose_output_is_refused_for_good_is_a_dead_letter_and_all_others_commit"
        ),
        "refused-topic-charged": (
            "test_a_topic_that_is_refused_is_waited_for_and_no_record_is_charged"
        ),
    },
}
"""By test file: each patch beside this file, and the test that must fail with it."""


@dataclass(frozen=True)
class Result:
    name: str
    test: str
    killed: bool
    took_s: float

    def __str__(self) -> str:
        fate = "killed" if self.killed else "SURVIVED"
        file, _, test = self.test.partition("::")
        return f"{self.name:<42} {fate:<8} {self.took_s:>5.0f} s  {Path(file).name}::{test}"


def main(names: list[str]) -> int:
    """Exit code 1 if a mutant survives: its test cannot fail."""
    tests = {
        name: f"{file}::{test}" for file, rows in MUTANTS.items() for name, test in rows.items()
    }
    if unknown := set(names) - tests.keys():
        known = ", ".join(tests)
        sys.stderr.write(f"no mutant {', '.join(sorted(unknown))}; known: {known}\n")
        return 2

    results = []
    for name in names or tests:
        sys.stdout.write(f"{name}: {tests[name]}\n")
        sys.stdout.flush()
        results.append(_run(name, tests[name]))

    sys.stdout.write("\n" + "".join(f"{result}\n" for result in results))
    return 0 if all(result.killed for result in results) else 1


def _run(name: str, test: str) -> Result:
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="orderflow-mutant-") as scratch:
        _copy(Path(scratch))
        patch = PATCHES / f"{name}.patch"
        subprocess.run(["git", "apply", str(patch)], cwd=scratch, check=True)
        ran = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-x", test, "-m", "not soak and not long"],
            cwd=scratch,
            env={**os.environ, "PYTHONPATH": f"{scratch}/src"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )

    # Pytest's exit code is the same when a fixture breaks, which proves nothing.
    killed = ran.returncode == PYTEST_TESTS_FAILED and b"\nFAILED tests/" in ran.stdout
    if not killed:
        sys.stdout.write(ran.stdout.decode(errors="replace")[-OUTPUT_MAX:])
    return Result(name=name, test=test, killed=killed, took_s=time.monotonic() - began)


def _copy(scratch: Path) -> None:
    """Copy what git tracks or would add, as it is in the work tree."""
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
