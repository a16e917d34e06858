"""
One turn of a container: poll, admit, prepare, handle, commit; and everything that a turn needs,
made in one place.

Records flow one way. Each stage returns the records that are over, and the turn gives them to the
admission, which brings up the next record of each of their keys.
"""

from __future__ import annotations

from orderflow.messaging.container.client.kafka_client import KafkaClient
from orderflow.messaging.container.deliveries.database import DatabaseDelivery
from orderflow.messaging.container.deliveries.delivery import Delivery
from orderflow.messaging.container.deliveries.effect_database import EffectDatabase
from orderflow.messaging.container.deliveries.idempotent import IdempotentDelivery
from orderflow.messaging.container.deliveries.kafka import KafkaDelivery
from orderflow.messaging.container.deliveries.stateful import StatefulDelivery, StateParts
from orderflow.messaging.container.deliveries.transaction import TurnTransaction
from orderflow.messaging.container.failures import Failures
from orderflow.messaging.container.metrics import WaitingGauges, count_consumed
from orderflow.messaging.container.records.queues import Queues
from orderflow.messaging.container.records.record_log import RecordLog
from orderflow.messaging.container.records.record_traces import RecordTraces
from orderflow.messaging.container.records.uncommitted import Uncommitted
from orderflow.messaging.container.refusals import Refusals
from orderflow.messaging.container.settings import ContainerSettings
from orderflow.messaging.container.shared import Shared
from orderflow.messaging.container.stages.admission import Admission
from orderflow.messaging.container.stages.bulk import Bulk, NoBulk
from orderflow.messaging.container.stages.gates import Gates
from orderflow.messaging.container.stages.intake import Intake
from orderflow.messaging.container.stages.look_ahead import Ahead
from orderflow.messaging.container.stages.prepare_stage import (
    CALLS_POLL_S,
    NothingToPrepare,
    Preparation,
    Preparing,
)
from orderflow.messaging.container.stages.publisher import Publisher
from orderflow.messaging.container.stages.waves import Waves
from orderflow.messaging.errors import ConfigurationError
from orderflow.messaging.failpoints import failpoint
from orderflow.messaging.listener import ExactlyOnce, IdempotentWrite, Stateful
from orderflow.messaging.schemas.avro import Decoder, Encoder
from orderflow.messaging.work.calls import MakeCalls
from orderflow.messaging.work.clock import Clock
from orderflow.messaging.work.turning import Turning

POLL_S_MIN = 0.001
REST_S_MAX = 0.1
"""Of one poll: a stop, and the answer to a commit, wait no longer for it."""


class Loop:
    """
    The stages of one container, and the turn that runs them. Everything runs on the thread that
    calls `turn`.
    """

    def __init__(
        self,
        settings: ContainerSettings,
        *,
        client: KafkaClient,
        encoder: Encoder,
        decoder: Decoder,
        resource: EffectDatabase | StateParts | None,
        calls: MakeCalls,
        gates: Gates,
        clock: Clock,
    ) -> None:
        listener = settings.listener
        self.turning = Turning(
            f"listener {listener.name}", within_s=settings.turns_within_s, clock=clock
        )
        self._waiting = WaitingGauges(listener, clock)
        self._shared = shared = Shared(
            settings=settings,
            client=client,
            clock=clock,
            gates=gates,
            queues=Queues(clock),
            uncommitted=Uncommitted(),
            record_log=RecordLog(listener, wanted=settings.log_records, clock=clock),
            traces=RecordTraces(listener.group, clock),
        )
        self._fetched = 0
        failures = Failures(shared)
        refusals = Refusals(shared, failures)
        self._transaction = TurnTransaction(shared, refusals)

        self._delivery = _delivery_of(
            shared,
            publisher=Publisher(listener, encoder),
            transaction=self._transaction,
            decoder=decoder,
            resource=resource,
        )
        intake = Intake(listener, decoder)
        self._preparing = _preparation_of(shared, calls=calls, failures=failures, intake=intake)
        self._admission = Admission(
            shared,
            intake=intake,
            delivery=self._delivery,
            failures=failures,
            prepares=isinstance(self._preparing, Preparing),
        )
        self._waves = Waves(shared, delivery=self._delivery, failures=failures, refusals=refusals)
        self._bulk: Bulk | NoBulk = NoBulk()
        if isinstance(self._delivery, StatefulDelivery):
            self._bulk = Bulk(
                shared, intake=intake, delivery=self._delivery, may_run=self._waves.are_well
            )

    @property
    def is_member(self) -> bool:
        """Whether the group counts this worker as a member."""
        return self._shared.client.is_member

    @property
    def broker_error(self) -> str:
        """Why the brokers seem to be away; empty when the last answer was good."""
        return self._shared.client.broker_error

    def reasons(self) -> list[str]:
        """Why the delivery is not ready, beside what gates say."""
        return self._delivery.reasons()

    def open(self) -> None:
        """Join the group; waits for the brokers."""
        self._shared.client.open(self._delivery.before_revoke, self._delivery.assigned)

    def close(self) -> None:
        """Leave the group. What is not committed will be read again."""
        self._write_finished()
        self._preparing.close()
        self._shared.client.close()
        self._delivery.close()

    def turn(self) -> None:
        """Poll, admit, prepare, handle, commit, once."""
        # Partitions come and go in here, and only here: no transaction is open, so a rebalance only
        # drops state.
        self.turning.mark("poll")
        self._admission.begin_turn()
        timeout_s = self._poll_timeout()
        polled = self._shared.client.poll(
            timeout_s, self._shared.settings.records_max, rest_s=self._rest_s(timeout_s)
        )

        self.turning.mark("restore")
        self._shared.traces.begin_turn()
        self._delivery.begin_turn()
        self.turning.mark("admit")
        if polled.messages:
            count_consumed(self._shared.settings.listener.group, polled.messages)
            self._admission.note_messages()
            self._fetched += len(polled.messages)
        self._admission.admit(self._bulk.take(polled))
        if polled.messages:
            failpoint("listener.after_poll")

        # Before the rest, because neither needs a transaction: a call that begins now is answered
        # when the rest ends.
        now = self._shared.clock.monotonic()
        self._admission.wake(now)
        self.turning.mark("prepare")
        self._admission.release(self._preparing.step(now))
        if now < self._transaction.rest_until and not self._backlog_is_full:
            return

        self._fetched = 0
        self._handle_bulk()
        if now >= self._delivery.due_at:
            self._handle_waves()

        self.turning.mark("commit")
        self._end_turn()
        self._open_idle_gates()
        self._admission.refill()
        self._write_finished()
        self._waiting.show(self._shared.client.partitions.values())

    def last_turn(self) -> None:
        """
        Let running calls end, handle and commit what is ready; the rest is in the offsets'
        metadata.
        """
        deadline = self._shared.clock.monotonic() + self._shared.settings.stop_within_s
        self._preparing.finish(deadline)
        self._handle_bulk()
        self._handle_waves()
        self.turning.mark("last commit")
        self._delivery.last(deadline)

    def _write_finished(self) -> None:
        """Lines and spans of what is finished for good."""
        self._shared.record_log.write()
        self._shared.traces.write()

    def _handle_bulk(self) -> None:
        if self._bulk:
            self.turning.mark("handle")
            self._admission.admit_messages(self._bulk.run())

    def _handle_waves(self) -> None:
        self.turning.mark("handle")
        for over in self._waves.run():
            self._admission.release(over)
            self.turning.mark("handle")

    def _end_turn(self) -> None:
        now = self._shared.clock.monotonic()
        self._admission.reach_ends(now)
        self._admission.release(self._delivery.end_turn(now))

    @property
    def _backlog_is_full(self) -> bool:
        """Whether a whole wave is there: then the rest is cut short."""
        records_max = self._shared.settings.records_max
        return self._fetched >= records_max or len(self._shared.queues.ready) >= records_max

    def _rest_s(self, timeout_s: float) -> float:
        """
        For how long a poll need not return for what it fetches: until a rest is over, if nothing
        else can be done with a record before.
        """
        if isinstance(self._preparing, Preparing) or self._backlog_is_full:
            return 0.0
        rest_until = max(self._delivery.due_at, self._transaction.rest_until)
        return max(0.0, min(timeout_s, REST_S_MAX, rest_until - self._shared.clock.monotonic()))

    def _poll_timeout(self) -> float:
        """Seconds until something is to be done, if nothing is fetched meanwhile."""
        now, queues = self._shared.clock.monotonic(), self._shared.queues
        if self._delivery.is_restoring:
            return 0.0
        waits = [gate.next_try_at - now for gate in self._shared.gates if gate.is_probing]
        if (queues.ready or self._bulk) and self._waves.may_run(now):
            due_in = self._delivery.due_at - now
            if due_in > 0:
                waits.append(due_in)
            elif self._backlog_is_full:
                return 0.0
            else:
                return max(0.0, self._transaction.rest_until - now)

        if queues.unread and not self._shared.gates.decode.is_probing:
            return 0.0
        if self._preparing.running:
            waits.append(CALLS_POLL_S)
        elif queues.to_prepare and not waits:
            return 0.0
        commit_in = self._transaction.due_in(now)
        if commit_in is not None:
            waits.append(commit_in)
        if queues.next_due is not None:
            waits.append(queues.next_due - now)
        return max(POLL_S_MIN, min([self._shared.settings.idle_after_s, *waits]))

    def _open_idle_gates(self) -> None:
        """
        Open a closed stage that has nothing left to probe with, because its partitions were taken
        away.
        """
        now, queues, gates = self._shared.clock.monotonic(), self._shared.queues, self._shared.gates
        calling = bool(queues.to_prepare) or self._preparing.running > 0
        commits_ready = bool(queues.ready) and gates.commit in self._delivery.needs
        work_left = (
            (gates.decode, bool(queues.unread)),
            (gates.handle, bool(queues.ready) or calling),
            (gates.dead_letters, bool(self._shared.uncommitted.held)),
            (gates.intent, calling),
            (gates.call, calling),
            (gates.outcome, bool(queues.ended)),
            (
                gates.commit,
                self._transaction.is_needed or self._shared.client.committing or commits_ready,
            ),
        )

        for gate, has_work in work_left:
            if gate.is_probing and gate.may_try(now) and not has_work:
                gate.succeeded()


def _delivery_of(
    shared: Shared,
    *,
    publisher: Publisher,
    transaction: TurnTransaction,
    decoder: Decoder,
    resource: EffectDatabase | StateParts | None,
) -> Delivery:
    """The delivery that the listener has declared; the stages know only the interface."""
    declared = shared.settings.listener.delivery
    if isinstance(declared, ExactlyOnce):
        return KafkaDelivery(shared, declared, publisher=publisher, transaction=transaction)
    if isinstance(declared, Stateful):
        assert isinstance(resource, StateParts), "a listener with state was given none"
        return StatefulDelivery(
            shared,
            declared,
            publisher=publisher,
            decoder=decoder,
            transaction=transaction,
            state=resource,
        )

    if isinstance(declared, IdempotentWrite):
        return IdempotentDelivery(shared, declared, transaction=transaction)

    assert resource is not None, "a listener with InboxOutbox was given no database"
    assert not isinstance(resource, StateParts)
    return DatabaseDelivery(
        shared, declared, publisher=publisher, transaction=transaction, database=resource
    )


def _preparation_of(
    shared: Shared, *, calls: MakeCalls, failures: Failures, intake: Intake
) -> Preparation:
    """The stage of `Prepare`, if the listener has one."""
    declared = shared.settings.listener.delivery
    if not isinstance(declared, ExactlyOnce) or declared.prepare is None:
        return NothingToPrepare()
    if declared.calls_max < 1:
        raise ConfigurationError(
            f"listener {shared.settings.listener.name}: calls_max is {declared.calls_max}, and "
            "without a call nothing is ever prepared"
        )

    pool = calls(declared.prepare.call, declared.calls_max)
    look_ahead = declared.look_ahead
    ahead = (
        None
        if look_ahead is None
        else Ahead(look_ahead, intake=intake, decode_gate=shared.gates.decode)
    )
    return Preparing(shared, declared.prepare, calls=pool, failures=failures, ahead=ahead)
