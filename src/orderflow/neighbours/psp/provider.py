"""The provider at work: logs calls on arrival, writes entries before their answers, misbehaves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

import msgspec

from orderflow.neighbours.journal import Journal
from orderflow.neighbours.psp.admission import Admission, Refusal
from orderflow.neighbours.psp.faults import EFFECTS, NO_FAULT, Fault, FaultPlan, Operation, Rule
from orderflow.neighbours.psp.ledger import (
    Charge,
    ChargeRequest,
    Entry,
    Ledger,
    Refund,
    RefundRequest,
    Settlement,
    Void,
    VoidRequest,
)
from orderflow.neighbours.psp.tokens import ChargeStatus, fault_of
from orderflow.neighbours.psp.views import account_view, charge_view, refund_view
from orderflow.neighbours.psp.webhooks import Webhook, WebhookSender, of_charge, of_refund


class Call(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """
    A request as it arrived. `reference`: the charge's, or the refund's own.

    `refused`: why it was not let in; then its body was not read, and the reference may be missing.
    """

    at: datetime
    operation: str
    reference: str
    key: str = ""
    fault: Fault = Fault.NONE
    refused: str = ""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What the client would get, and the rule that says what it gets instead."""

    status: int
    body: Any
    repeated: bool = False
    rule: Rule = NO_FAULT


NOT_DONE = Answer(status=200, body={})


Announces = Literal["all", "unanswered"]
"""Which outcomes are told by webhook: all, or those that no call's answer has told at once."""


class Provider:
    """All state of the process. On the event loop alone: no other call runs between two awaits."""

    def __init__(
        self,
        directory: Path,
        *,
        key_window_s: float,
        plan: FaultPlan,
        admission: Admission | None = None,
        pending_s: float = 0.0,
        webhooks: WebhookSender | None = None,
        announces: Announces = "all",
    ) -> None:
        self.plan = plan
        self.webhooks = webhooks
        self._announces = announces
        self.ledger = Ledger(key_window=timedelta(seconds=key_window_s))

        file = directory / "ledger.jsonl"
        self._entries: Journal[Entry] = Journal(file, Entry)  # type: ignore[arg-type]
        self._calls = Journal(directory / "calls.jsonl", Call)
        self._admission = admission or Admission()
        self._pending = timedelta(seconds=pending_s)
        self._charged_before: set[str] = {
            call.reference for call in self._calls.read() if call.operation == "charge"
        }
        self._working: set[str] = set()

        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._unsent: list[Webhook] = []
        for entry in self._entries.read():
            self.ledger.enter(entry)
            self._unsent += self._webhooks_of(entry)

    def start(self) -> None:
        """Go on with what was pending, and what was not delivered, before this start."""
        for charge in self.ledger.pending():
            self._settle_later(charge)
        if self.webhooks is not None:
            self.webhooks.start(self._unsent)
        self._unsent = []

    def calls(self) -> list[Call]:
        return self._calls.read()

    def admit(
        self, operation: Operation, authorization: str | None, *, reference: str = ""
    ) -> None:
        """Raises Refusal if the call may not come in. It is logged all the same."""
        try:
            self._admission.admit(authorization)
        except Refusal as refusal:
            self._calls.append(
                Call(at=_now(), operation=operation, reference=reference, refused=refusal.slug)
            )
            raise

    async def find(self, reference: str) -> Answer:
        def work() -> Answer:
            return Answer(status=200, body=account_view(self.ledger, reference))

        rule = self.plan.draw(Operation.FIND)
        return await self._act(Operation.FIND, rule, work, reference=reference)

    async def charge(self, key: str, request: ChargeRequest) -> Answer:
        first = request.reference not in self._charged_before
        self._charged_before.add(request.reference)

        def work() -> Answer:
            earlier = self.ledger.remembered(key, request, _now())
            charge = earlier or self.ledger.charge(
                key, request, charge_id=f"ch_{uuid4().hex}", now=_now()
            )
            assert isinstance(charge, Charge)
            if earlier is None:
                self._enter(charge, answered=self._is_answered(rule))
            status = 402 if charge.status is ChargeStatus.DECLINED else 201
            return Answer(status=status, body=charge_view(charge), repeated=earlier is not None)

        rule = self.plan.draw(Operation.CHARGE, by_token=fault_of(request.token, first=first))
        return await self._act(Operation.CHARGE, rule, work, reference=request.reference, key=key)

    def settle(self, reference: str, status: ChargeStatus | None) -> Answer:
        """Decide the pending charges of a reference now."""
        for charge in self.ledger.account(reference).charges:
            self._settle(charge.charge_id, status)
        return Answer(status=200, body=account_view(self.ledger, reference))

    async def refund(self, key: str, request: RefundRequest) -> Answer:
        def work() -> Answer:
            earlier = self.ledger.remembered(key, request, _now())
            refund = earlier or self.ledger.refund(
                key, request, refund_id=f"re_{uuid4().hex}", now=_now()
            )
            assert isinstance(refund, Refund)
            if earlier is None:
                self._enter(refund, answered=self._is_answered(rule))
            return Answer(status=201, body=refund_view(refund), repeated=earlier is not None)

        rule = self.plan.draw(Operation.REFUND)
        return await self._act(Operation.REFUND, rule, work, reference=request.reference, key=key)

    async def void(self, reference: str, request: VoidRequest) -> Answer:
        def work() -> Answer:
            void = self.ledger.void(reference, request, now=_now())
            if void is not None:
                self._enter(void)
            view = account_view(self.ledger, reference)
            return Answer(status=200, body={"voided": void is not None, **view})

        rule = self.plan.draw(Operation.VOID)
        return await self._act(Operation.VOID, rule, work, reference=reference)

    def stop(self) -> None:
        """What is pending now stays so until another start: its file is about to be closed."""
        for timer in self._timers.values():
            timer.cancel()

    def close(self) -> None:
        if self.webhooks is not None:
            self.webhooks.close()
        self._entries.close()
        self._calls.close()

    async def _act(
        self,
        operation: Operation,
        rule: Rule,
        work: Callable[[], Answer],
        *,
        reference: str,
        key: str = "",
    ) -> Answer:
        self._calls.append(
            Call(at=_now(), operation=operation, reference=reference, key=key, fault=rule.fault)
        )
        faults = self.plan.faults
        wait_s = faults.latency_s + (faults.slow_s if EFFECTS[rule.fault].late else 0.0)

        with self._exclusive(key):
            if wait_s and rule.fault is not Fault.DROPPED:
                await asyncio.sleep(wait_s)
            answer = work() if rule.is_done else NOT_DONE
        return msgspec.structs.replace(answer, rule=rule)

    @contextmanager
    def _exclusive(self, key: str) -> Iterator[None]:
        """Raises Refusal while another call with this key is at work, if keys have any effect."""
        if not key or not self.ledger.remembers:
            yield
            return

        if key in self._working:
            raise Refusal(
                409, "in-progress", "a request with this Idempotency-Key is being worked on"
            )
        self._working.add(key)
        try:
            yield
        finally:
            self._working.discard(key)

    def _settle_later(self, charge: Charge) -> None:
        wait = max(timedelta(0), charge.at + self._pending - _now())
        self._timers[charge.charge_id] = asyncio.get_running_loop().call_later(
            wait.total_seconds(), self._settle, charge.charge_id
        )

    def _settle(self, charge_id: str, status: ChargeStatus | None = None) -> None:
        if timer := self._timers.pop(charge_id, None):
            timer.cancel()

        settlement = self.ledger.settlement(charge_id, now=_now(), status=status)
        if settlement is not None:
            self._enter(settlement)

    def _is_answered(self, rule: Rule) -> bool:
        """Whether the call's own answer tells, at once, what became of it."""
        return rule.fault is Fault.NONE and not self.plan.faults.latency_s

    def _enter(self, entry: Entry, *, answered: bool = False) -> None:
        is_told = self._announces == "all" or not answered
        # In the entry, so that a kill between entry and webhook loses neither.
        if self.webhooks is not None and is_told and not isinstance(entry, Void):
            entry = msgspec.structs.replace(entry, announced=True)
        self._entries.append(entry)
        self.ledger.enter(entry)

        if isinstance(entry, Charge) and entry.status is ChargeStatus.PENDING:
            self._settle_later(entry)
        for webhook in self._webhooks_of(entry):
            assert self.webhooks is not None
            self.webhooks.announce(webhook)

    def _webhooks_of(self, entry: Entry) -> Iterator[Webhook]:
        """What is to be told of an entry that has just been entered."""
        if isinstance(entry, Void) or not entry.announced:
            return

        match entry:
            case Charge() if entry.status is not ChargeStatus.PENDING:
                yield of_charge(entry, entry.at)
            case Settlement():
                yield of_charge(self.ledger.charges[entry.charge_id], entry.at)
            case Refund():
                captured = [
                    charge.charge_id
                    for charge in self.ledger.account(entry.request.charge_reference).charges
                    if charge.status is ChargeStatus.CAPTURED
                ]
                yield of_refund(entry, captured[0])


def _now() -> datetime:
    return datetime.now(UTC)
