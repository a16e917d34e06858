"""
What the provider tells by itself: charges that have their outcome, and refunds.

Form and signature are those of Standard Webhooks (https://www.standardwebhooks.com). A webhook is
sent until it is answered with 2xx, with the same id each time and over another start, so at least
once; in the order of events only as long as nothing fails.
"""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any
from urllib.parse import urlsplit

import msgspec
from standardwebhooks import Webhook as Signer

from orderflow.messaging.telemetry import logger
from orderflow.neighbours.journal import Journal
from orderflow.neighbours.psp.faults import Fault, FaultPlan, Operation
from orderflow.neighbours.psp.ledger import Charge, Refund
from orderflow.neighbours.psp.tokens import ChargeStatus

BACK_OFF_S = (0.2, 30.0)
TIMEOUT_S = 3.0
HOLDING = (Fault.LATE, Fault.OUT_OF_ORDER)
OLD = timedelta(minutes=10)
FORGER = Signer(b"a secret that nobody else has ...")

AT_A_TIME = 16

Request = tuple[bytes, Mapping[str, str]]
"""A body and its headers."""

Post = Callable[[Sequence[Request]], list[int]]
"""Sends at most `AT_A_TIME` requests. The status of each one's answer; 0 if there is none."""

log = logger("psp.webhooks")


class Webhook(msgspec.Struct, frozen=True, kw_only=True):
    webhook_id: str
    type: str
    timestamp: datetime
    data: Mapping[str, Any]

    @property
    def body(self) -> bytes:
        return msgspec.json.encode(
            {"type": self.type, "timestamp": self.timestamp, "data": self.data}
        )


class Attempt(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A webhook as it was sent. `status`: of the answer; 0 if there was none."""

    at: datetime
    webhook_id: str
    type: str
    reference: str
    status: int
    fault: Fault = Fault.NONE

    @property
    def is_delivered(self) -> bool:
        return 200 <= self.status < 300


class Due(msgspec.Struct, kw_only=True):
    """`at`: monotonic seconds. `held`: the fault that made it wait, at its first attempt."""

    at: float
    number: int
    webhook: Webhook
    failures: int = 0
    held: Fault = Fault.NONE

    def __lt__(self, other: Due) -> bool:
        return (self.at, self.number) < (other.at, other.number)


def of_charge(charge: Charge, at: datetime) -> Webhook:
    """The webhook of a charge that was captured or declined, `at` that time."""
    is_declined = charge.status is ChargeStatus.DECLINED

    return Webhook(
        webhook_id=f"msg_{charge.charge_id}",
        type="charge.declined" if is_declined else "charge.captured",
        timestamp=at,
        data={
            "reference": charge.request.reference,
            "status": charge.status,
            "amountMinor": charge.request.amount_minor,
            "currency": charge.request.currency,
            "chargeId": charge.charge_id,
            "message": charge.message,
        },
    )


def of_refund(refund: Refund, charge_id: str) -> Webhook:
    return Webhook(
        webhook_id=f"msg_{refund.refund_id}",
        type="refund.succeeded",
        timestamp=refund.at,
        data={
            "reference": refund.request.reference,
            "status": "SUCCEEDED",
            "amountMinor": refund.request.amount_minor,
            "currency": refund.request.currency,
            "chargeId": charge_id,
            "chargeReference": refund.request.charge_reference,
            "refundId": refund.refund_id,
        },
    )


class WebhookSender:
    """
    A thread that sends webhooks, several at a time. What fails waits for 0.2 s, doubled up to 30 s.

    It alone writes the log of attempts, which says what was delivered.
    """

    def __init__(
        self,
        file: Path,
        *,
        secret: str,
        post: Post,
        plan: FaultPlan,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._attempts = Journal(file, Attempt)
        self._signer = Signer(secret)
        self._post, self._plan, self._monotonic = post, plan, monotonic
        self._announced: SimpleQueue[Webhook | None] = SimpleQueue()
        self._due: list[Due] = []
        self._number = 0
        self._thread = threading.Thread(target=self._run, name="webhooks", daemon=True)

    def attempts(self) -> list[Attempt]:
        return self._attempts.read()

    def start(self, webhooks: Iterable[Webhook]) -> None:
        """Send those that were not delivered before, and from now on what is announced."""
        delivered = {
            attempt.webhook_id for attempt in self._attempts.read() if attempt.is_delivered
        }
        for webhook in webhooks:
            if webhook.webhook_id not in delivered:
                self.announce(webhook)
        self._thread.start()

    def announce(self, webhook: Webhook) -> None:
        self._announced.put(webhook)

    def close(self) -> None:
        self._announced.put(None)
        if self._thread.ident is not None:
            self._thread.join(TIMEOUT_S + 1)
        self._attempts.close()

    def _run(self) -> None:
        while self._take_in():
            self._send_due()

    def _take_in(self) -> bool:
        """Wait for an announcement, or until a webhook is due. False: to be closed."""
        wait_s = max(0.0, self._due[0].at - self._monotonic()) if self._due else None
        try:
            webhook = self._announced.get(timeout=wait_s)
            while webhook is not None:
                self._push(Due(at=self._monotonic(), number=self._number, webhook=webhook))
                webhook = self._announced.get_nowait()
        except Empty:
            return True
        return False

    def _send_due(self) -> None:
        while batch := self._take_due():
            delivered = self._sent([(due.webhook, fault) for due, fault in batch])
            for (due, fault), is_delivered in zip(batch, delivered, strict=True):
                again = [(due.webhook, fault)] if fault is Fault.REPEATED else []
                if is_delivered and all(self._sent(again)):
                    self._release()
                    continue

                due.failures += 1
                due.at = self._monotonic() + _back_off_s(due.failures)
                self._push(due)

    def _take_due(self) -> list[tuple[Due, Fault]]:
        """What is sent next, each with the fault that it is sent with; what is held is put back."""
        batch: list[tuple[Due, Fault]] = []
        while len(batch) < AT_A_TIME and self._due and self._due[0].at <= self._monotonic():
            due = heapq.heappop(self._due)
            fault = Fault.NONE if due.held else self._plan.draw(Operation.WEBHOOK).fault
            if fault in HOLDING:
                due.held = fault
                due.at = self._monotonic() + self._plan.faults.slow_s
                self._push(due)
            else:
                batch.append((due, fault))
        return batch

    def _sent(self, webhooks: Sequence[tuple[Webhook, Fault]]) -> list[bool]:
        """Send them together; whether each was delivered."""
        if not webhooks:
            return []

        at = datetime.now(UTC)
        statuses = self._post([self._request(webhook, fault, at) for webhook, fault in webhooks])
        attempts = [
            Attempt(
                at=at,
                webhook_id=webhook.webhook_id,
                type=webhook.type,
                reference=webhook.data["reference"],
                status=status,
                fault=fault,
            )
            for (webhook, fault), status in zip(webhooks, statuses, strict=True)
        ]
        self._attempts.append(*attempts)
        return [attempt.is_delivered for attempt in attempts]

    def _request(self, webhook: Webhook, fault: Fault, at: datetime) -> Request:
        content = webhook.body
        signer = FORGER if fault is Fault.FORGED else self._signer
        stamp = at - OLD if fault is Fault.OLD else at

        return content, {
            "content-type": "application/json",
            "webhook-id": webhook.webhook_id,
            "webhook-timestamp": str(int(stamp.timestamp())),
            "webhook-signature": signer.sign(webhook.webhook_id, stamp, content.decode()),
        }

    def _release(self) -> None:
        """Those out of order go behind the one that was delivered."""
        for due in self._due:
            if due.held is Fault.OUT_OF_ORDER:
                due.at = self._monotonic()
        heapq.heapify(self._due)

    def _push(self, due: Due) -> None:
        self._number += 1
        heapq.heappush(self._due, due)


class Poster:
    """
    POSTs to one address, without redirects or proxies, over connections that are kept: all requests
    first, then their answers. For one thread.

    On a kept connection that turns out to be closed a webhook is sent again: it may come twice.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        self._connections = [
            kind(parts.hostname, parts.port, timeout=TIMEOUT_S) for _ in range(AT_A_TIME)
        ]
        self._url, self._path = url, parts.path or "/"

    def __call__(self, requests: Sequence[Request]) -> list[int]:
        sent = [
            (connection, request, connection.sock is not None, self._ask(connection, request))
            for connection, request in zip(self._connections, requests, strict=False)
        ]
        return [
            self._answer(connection, request, was_kept=was_kept, is_sent=is_sent)
            for connection, request, was_kept, is_sent in sent
        ]

    def close(self) -> None:
        for connection in self._connections:
            connection.close()

    def _answer(
        self, connection: HTTPConnection, request: Request, *, was_kept: bool, is_sent: bool
    ) -> int:
        status = _status(connection) if is_sent else 0
        if not status and was_kept and self._ask(connection, request):
            status = _status(connection)
        if not status:
            log.info("a webhook is not answered", url=self._url)
        return status

    def _ask(self, connection: HTTPConnection, request: Request) -> bool:
        content, headers = request
        try:
            connection.request("POST", self._path, content, headers)
        except (OSError, HTTPException):
            connection.close()
            return False
        return True


def _status(connection: HTTPConnection) -> int:
    """Of the next answer, read to its end; 0 if there is none."""
    try:
        response = connection.getresponse()
        response.read()
    except (OSError, HTTPException):
        connection.close()
        return 0
    return response.status


def _back_off_s(failures: int) -> float:
    least, most = BACK_OFF_S
    return min(most, least * 2.0 ** min(failures - 1, 20))
