"""The provider at work: logs calls on arrival, writes entries before their answers, misbehaves."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec

from orderflow.neighbours.journal import Journal
from orderflow.neighbours.psp.faults import BY_TOKEN, Fault, Faults
from orderflow.neighbours.psp.ledger import (
    Charge,
    ChargeRequest,
    ChargeStatus,
    Entry,
    Ledger,
    Refund,
    RefundRequest,
    Refusal,
    VoidRequest,
    charge_view,
    refund_view,
)


class Call(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A request as it arrived. `reference`: the charge's, or the refund's own."""

    at: datetime
    operation: str
    reference: str
    key: str = ""
    fault: Fault = Fault.NONE


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """`lost`: the answer is not sent; the connection is reset instead."""

    status: int
    body: Any
    repeated: bool = False
    lost: bool = False


class Provider:
    """All state of the process. On the event loop alone: no other call runs between two awaits."""

    def __init__(
        self, directory: Path, *, key_window_s: float, faults: Faults, chance: random.Random
    ) -> None:
        self.faults = faults
        self.ledger = Ledger(key_window=timedelta(seconds=key_window_s))
        file = directory / "ledger.jsonl"
        self._entries: Journal[Entry] = Journal(file, Entry)  # type: ignore[arg-type]
        self._calls = Journal(directory / "calls.jsonl", Call)
        self._chance = chance
        self._charged_before: set[str] = {
            call.reference for call in self._calls.read() if call.operation == "charge"
        }
        self._working: set[str] = set()
        for entry in self._entries.read():
            self.ledger.enter(entry)

    def calls(self) -> list[Call]:
        return self._calls.read()

    def find(self, reference: str) -> Answer:
        self._calls.append(Call(at=_now(), operation="find", reference=reference))
        return Answer(status=200, body=self.ledger.view(reference))

    async def charge(self, key: str, request: ChargeRequest) -> Answer:
        first = request.reference not in self._charged_before
        self._charged_before.add(request.reference)
        by_token = BY_TOKEN.get(request.token) if first else None  # type: ignore[call-overload]

        def work() -> Answer:
            earlier = self.ledger.remembered(key, request, _now())
            charge = earlier or self.ledger.charge(
                key, request, charge_id=f"ch_{uuid4().hex}", now=_now()
            )
            assert isinstance(charge, Charge)
            self._enter(charge, new=earlier is None)
            status = 402 if charge.status is ChargeStatus.DECLINED else 201
            return Answer(status=status, body=charge_view(charge), repeated=earlier is not None)

        call = Call(
            at=_now(),
            operation="charge",
            reference=request.reference,
            key=key,
            fault=self._fault(by_token),
        )
        return await self._act(call, work)

    async def refund(self, key: str, request: RefundRequest) -> Answer:
        def work() -> Answer:
            earlier = self.ledger.remembered(key, request, _now())
            refund = earlier or self.ledger.refund(
                key, request, refund_id=f"re_{uuid4().hex}", now=_now()
            )
            assert isinstance(refund, Refund)
            self._enter(refund, new=earlier is None)
            return Answer(status=201, body=refund_view(refund), repeated=earlier is not None)

        call = Call(
            at=_now(), operation="refund", reference=request.reference, key=key, fault=self._fault()
        )
        return await self._act(call, work)

    async def void(self, reference: str, request: VoidRequest) -> Answer:
        def work() -> Answer:
            void = self.ledger.void(reference, request, now=_now())
            if void is not None:
                self._enter(void, new=True)
            return Answer(
                status=200, body={"voided": void is not None, **self.ledger.view(reference)}
            )

        return await self._act(
            Call(at=_now(), operation="void", reference=reference, fault=self._fault()), work
        )

    def close(self) -> None:
        self._entries.close()
        self._calls.close()

    async def _act(self, call: Call, work: Callable[[], Answer]) -> Answer:
        self._calls.append(call)
        faults = self.faults

        with self._exclusive(call.key):
            if call.fault is Fault.DROPPED:
                return Answer(status=0, body=None, lost=True)
            if wait_s := faults.latency_s + (faults.slow_s if call.fault is Fault.SLOW else 0.0):
                await asyncio.sleep(wait_s)
            answer = work()

        if call.fault is Fault.ERROR_AFTER_COMMIT:
            return Answer(
                status=500,
                body={"error": "internal-error", "detail": "something went wrong on our side"},
            )
        return msgspec.structs.replace(answer, lost=call.fault is Fault.REPLY_LOST)

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

    def _fault(self, by_token: Fault | None = None) -> Fault:
        return by_token or self.faults.draw(self._chance)

    def _enter(self, entry: Entry, *, new: bool) -> None:
        if new:
            self._entries.append(entry)
            self.ledger.enter(entry)


def _now() -> datetime:
    return datetime.now(UTC)
