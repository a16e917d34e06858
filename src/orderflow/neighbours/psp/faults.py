"""
How the provider misbehaves, so that its clients must not: one table, `EFFECTS`.

A fault is applied by test token (`tokens`) or by the rules of `PUT /faults`. A rule is for some
operations, at a rate, for the first calls only, or for a time.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta

from orderflow.neighbours.psp import replies
from orderflow.neighbours.psp.replies import Reply

Rate = Annotated[float, Meta(ge=0, le=1)]
Seconds = Annotated[float, Meta(ge=0, le=600)]


class Operation(StrEnum):
    CHARGE = "charge"
    FIND = "find"
    VOID = "void"
    REFUND = "refund"
    WEBHOOK = "webhook"


POSTS = (Operation.CHARGE, Operation.VOID, Operation.REFUND)


class Fault(StrEnum):
    NONE = ""
    DROPPED = "dropped"
    REPLY_LOST = "reply_lost"
    ERROR_AFTER_COMMIT = "error_after_commit"
    SLOW = "slow"
    SILENT = "silent"
    TRICKLE = "trickle"
    HUGE = "huge"
    EMPTY = "empty"
    HTML = "html"
    TRUNCATED = "truncated"
    CONTENT_TYPE = "content_type"
    NONSENSE = "nonsense"
    NOT_AN_OBJECT = "not_an_object"
    WRONG_AMOUNT = "wrong_amount"
    WRONG_CURRENCY = "wrong_currency"
    WRONG_REFERENCE = "wrong_reference"
    UNKNOWN_STATUS = "unknown_status"
    MISSING_FIELDS = "missing_fields"
    STATUS_302 = "302"
    STATUS_400 = "400"
    STATUS_401 = "401"
    STATUS_403 = "403"
    STATUS_404 = "404"
    STATUS_409 = "409"
    STATUS_422 = "422"
    STATUS_429 = "429"
    STATUS_500 = "500"
    STATUS_502 = "502"
    STATUS_503 = "503"
    STATUS_504 = "504"
    REPEATED = "repeated"
    OUT_OF_ORDER = "out_of_order"
    LATE = "late"
    FORGED = "forged"
    OLD = "old"


class Effect(msgspec.Struct, frozen=True, kw_only=True):
    """
    `done`: whether the request is carried out, if the rule does not say. `reply`: what the client
    gets instead of the answer. `late`: nothing happens before `slowS`.
    """

    done: bool = True
    reply: Reply = replies.sound
    late: bool = False


EFFECTS: Mapping[Fault, Effect] = {
    Fault.NONE: Effect(),
    Fault.DROPPED: Effect(done=False, reply=replies.reset),
    Fault.REPLY_LOST: Effect(reply=replies.reset),
    Fault.ERROR_AFTER_COMMIT: Effect(reply=replies.error(500)),
    Fault.SLOW: Effect(late=True),
    Fault.SILENT: Effect(done=False, reply=replies.silence),
    Fault.TRICKLE: Effect(reply=replies.trickle),
    Fault.HUGE: Effect(reply=replies.huge),
    Fault.EMPTY: Effect(reply=replies.empty),
    Fault.HTML: Effect(reply=replies.html),
    Fault.TRUNCATED: Effect(reply=replies.truncated),
    Fault.CONTENT_TYPE: Effect(reply=replies.plain_text),
    Fault.NONSENSE: Effect(reply=replies.replaced({"error": "maintenance"})),
    Fault.NOT_AN_OBJECT: Effect(reply=replies.replaced([])),
    Fault.WRONG_AMOUNT: Effect(reply=replies.changed(amountMinor=10**15)),
    Fault.WRONG_CURRENCY: Effect(reply=replies.changed(currency="XTS")),
    Fault.WRONG_REFERENCE: Effect(reply=replies.changed(reference="of-another-customer")),
    Fault.UNKNOWN_STATUS: Effect(reply=replies.changed(status="UNDER_REVIEW")),
    Fault.MISSING_FIELDS: Effect(reply=replies.without("message", "amountMinor", "currency")),
    **{
        fault: Effect(done=False, reply=replies.error(int(fault)))
        for fault in Fault
        if fault.isdigit()
    },
}
"""Of calls. What goes wrong with webhooks is done by their sender."""

OF_WEBHOOKS = frozenset(Fault) - frozenset(EFFECTS)
CALLS = (*POSTS, Operation.FIND)


class Rule(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """
    A fault of all calls (or webhooks, if it is one of theirs), or of some `operations`.

    `first`: of that many calls at most. `for_s`: until so long after the rules were set. `done`:
    whether the request is carried out all the same. `retry_after_s`: sent as `Retry-After`.
    """

    fault: Fault
    operations: tuple[Operation, ...] = ()
    rate: Rate = 1.0
    first: Annotated[int, Meta(ge=1)] | None = None
    for_s: Seconds | None = None
    done: bool | None = None
    retry_after_s: Annotated[int, Meta(ge=0, le=86_400)] | None = None

    def __post_init__(self) -> None:
        if not set(self.operations) <= set(self.possible):
            names = ", ".join(self.possible)
            raise ValueError(f"the fault {self.fault} has the operations {names}")

    @property
    def possible(self) -> tuple[Operation, ...]:
        return (Operation.WEBHOOK,) if self.fault in OF_WEBHOOKS else CALLS

    @property
    def is_done(self) -> bool:
        return EFFECTS[self.fault].done if self.done is None else self.done


NO_FAULT = Rule(fault=Fault.NONE)


class Faults(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """
    `rules`, and in short the rates of four faults of all POSTs.

    Of a slow call and of a webhook that is late, `slow_s` is how late; `latency_s` is what every
    call takes.
    """

    reply_lost: Rate = 0.0
    dropped: Rate = 0.0
    error_after_commit: Rate = 0.0
    slow: Rate = 0.0
    slow_s: Seconds = 5.0
    latency_s: Seconds = 0.0
    rules: tuple[Rule, ...] = ()

    def all_rules(self) -> tuple[Rule, ...]:
        rates = (
            (Fault.REPLY_LOST, self.reply_lost),
            (Fault.DROPPED, self.dropped),
            (Fault.ERROR_AFTER_COMMIT, self.error_after_commit),
            (Fault.SLOW, self.slow),
        )
        short = (Rule(fault=fault, rate=rate, operations=POSTS) for fault, rate in rates if rate)
        return (*short, *self.rules)


class AppliedRule(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """`active`: whether it can still be applied."""

    rule: Rule
    applied: int
    active: bool


class FaultsView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """`applied`: how often each fault was applied since the start, by token or by rule."""

    faults: Faults
    rules: tuple[AppliedRule, ...]
    applied: Mapping[Fault, int]


class FaultPlan:
    """
    The faults as they were set last, and how often each was applied.

    Shared by the event loop and the sender of webhooks.
    """

    def __init__(
        self, *, chance: random.Random, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._chance, self._monotonic = chance, monotonic
        self._lock = threading.Lock()
        self._applied: Counter[Fault] = Counter()
        self.set(Faults())

    def set(self, faults: Faults) -> None:
        with self._lock:
            self.faults = faults
            self._rules = faults.all_rules()
            self._by_rule = [0] * len(self._rules)
            self._since = self._monotonic()

    def draw(self, operation: Operation, *, by_token: Fault = Fault.NONE) -> Rule:
        """
        The rule for this call, and counts it: what its token asks for, else at most one of the
        rules, each at its own rate of all calls.
        """
        with self._lock:
            if by_token:
                self._applied[by_token] += 1
                return Rule(fault=by_token)

            point = self._chance.random()
            for number, rule in enumerate(self._rules):
                if operation not in (rule.operations or rule.possible) or not self._active(number):
                    continue
                if point < rule.rate:
                    self._by_rule[number] += 1
                    self._applied[rule.fault] += 1
                    return rule
                point -= rule.rate
        return NO_FAULT

    def view(self) -> FaultsView:
        with self._lock:
            rules = tuple(
                AppliedRule(rule=rule, applied=applied, active=self._active(number))
                for number, (rule, applied) in enumerate(
                    zip(self._rules, self._by_rule, strict=True)
                )
            )
            return FaultsView(faults=self.faults, rules=rules, applied=dict(self._applied))

    def _active(self, number: int) -> bool:
        rule = self._rules[number]
        is_over = rule.for_s is not None and self._monotonic() - self._since >= rule.for_s
        return not is_over and (rule.first is None or self._by_rule[number] < rule.first)
