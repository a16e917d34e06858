"""
The copies: payments as they went out of the house, compared with what payment announced.

A run compares the events that came since the last one, a slice of the older ones, a slice of what
the copy has (which may be nobody's), and again whatever was not in order before. All of it goes by
offsets of `payments`, at most 2,000 at a time. A copy that is away is said to be, its cursors stay,
and the rest of the books goes on; so does a difference there hold up nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Generic, Protocol, TypeVar

import msgspec

from orderflow.books.accounts import CopyLetters
from orderflow.books.copy_positions import CopyAway
from orderflow.books.judge_copies import CopyDifference, copy_explanation, unexplained_copies
from orderflow.books.report import Check, Copy, CopyState, Difference, Explained
from orderflow.books.settling import Suspect, System, settle
from orderflow.books.store import BooksStore
from orderflow.contracts.topics import PAYMENTS
from orderflow.messaging.work.clock import Clock

SPAN = 2_000
"""Offsets at a time."""


class CopyAccount(Protocol):
    """What is compared of a copy at once."""

    @property
    def letters(self) -> CopyLetters: ...

    @property
    def size(self) -> int:
        """How much of it is compared."""
        ...


A = TypeVar("A", bound=CopyAccount)


class CopySystem(System[A, None], Protocol[A]):
    """Accounts of a copy, by their keys. Raises CopyAway while the copy can't be asked."""

    def of_span(self, partition: int, first: int, end: int) -> Mapping[str, A]:
        """The accounts with an event between these offsets, at most 2,000."""
        ...

    def of_order(self, order_id: str) -> Mapping[str, A]: ...

    def next_of_copy(self, after: str, limit: int) -> Mapping[str, A]:
        """The next accounts of what the copy has, by key; none at the end."""
        ...


class CopyReport(msgspec.Struct, kw_only=True):
    """What a run found of one copy. `awaited`: for whom accounts wait, one for each."""

    copy: Copy
    check: Check
    checked: int = 0
    wrong: list[Difference] = []
    in_flight: list[Difference] = []
    explained: list[Explained] = []
    awaited: list[str] = []
    notes: list[str] = []


class CopyBooks(Generic[A]):
    """
    The books of one copy. `accounts_max`: so many with a difference are followed in one run; then
    it stops, and the next one goes on there.
    """

    def __init__(
        self,
        check: Check,
        system: CopySystem[A],
        judge: Callable[[A], Sequence[CopyDifference]],
        store: BooksStore,
        *,
        slice_offsets: int,
        accounts_max: int,
    ) -> None:
        self._name = check.value
        self._check = check
        self._system = system
        self._judge = judge
        self._store = store
        self._slice = slice_offsets
        self._accounts_max = accounts_max

    def run(
        self,
        *,
        full: bool = False,
        order_id: str = "",
        within_s: float,
        pause: Callable[[float], object],
        clock: Clock,
    ) -> CopyReport:
        """Compare, and wait for what is in flight for about `within_s`. Raises Transient."""
        run = _Run(self._check, self._judge)
        cursors: dict[str, str] = {}
        try:
            for accounts in self._accounts(cursors, full=full, order_id=order_id):
                run.add(accounts)
                if len(run.suspects) >= self._accounts_max:
                    run.report.notes.append(
                        f"the {self._name} differs in many places: the rest is compared in the "
                        "next run"
                    )
                    break
            run.settle(self._system, within_s=within_s, pause=pause, clock=clock)
        except CopyAway as away:
            run.report.copy = Copy(name=self._name, state=CopyState.AWAY, why=away.reason)
            run.report.notes.append(f"not compared: the {self._name} is away: {away.reason}")
            return run.report

        if not order_id:
            self._remember(cursors, run.to_do)
        return run.report

    def _accounts(
        self, cursors: dict[str, str], *, full: bool, order_id: str
    ) -> Iterator[Mapping[str, A]]:
        """All that is compared; `cursors` has at any moment what is done by then."""
        if order_id:
            yield self._system.of_order(order_id)
            return

        before = [key for key in self._store.cursor(f"{self._name} to do").split() if key]
        for start in range(0, len(before), SPAN):
            again = self._system.read(before[start : start + SPAN])
            if again is not None:
                yield again
        for (topic, partition), end in sorted(self._store.positions().items()):
            if topic == PAYMENTS.name:
                yield from self._of_partition(cursors, partition, end, full=full)
        yield from self._of_copy(cursors, full=full)

    def _of_partition(
        self, cursors: dict[str, str], partition: int, end: int, *, full: bool
    ) -> Iterator[Mapping[str, A]]:
        """What is new, then a slice of what is old."""
        new, old = f"{self._name} new {partition}", f"{self._name} old {partition}"
        first = 0 if full else int(self._store.cursor(new) or 0)
        for start, stop in _spans(first, end):
            yield self._system.of_span(partition, start, stop)
            cursors[new] = str(stop)
        if full:
            return

        again = int(self._store.cursor(old) or 0)
        last = min(again + self._slice, first)
        for start, stop in _spans(again, last):
            yield self._system.of_span(partition, start, stop)
            cursors[old] = str(stop)
        if last >= first:
            cursors[old] = "0"

    def _of_copy(self, cursors: dict[str, str], *, full: bool) -> Iterator[Mapping[str, A]]:
        name = f"{self._name} rows"
        after, left = ("", None) if full else (self._store.cursor(name), self._slice)
        while left is None or left > 0:
            accounts = self._system.next_of_copy(after, SPAN)
            if not accounts:
                cursors[name] = ""
                return
            yield accounts
            after = max(accounts)
            cursors[name] = after
            left = None if left is None else left - len(accounts)

    def _remember(self, cursors: Mapping[str, str], to_do: Sequence[str]) -> None:
        self._store.set_cursor(f"{self._name} to do", " ".join(to_do))
        for name, cursor in cursors.items():
            self._store.set_cursor(name, cursor)


class _Run(Generic[A]):
    """One run, as far as it is. `to_do`: the keys that are compared again in the next one."""

    def __init__(self, check: Check, judge: Callable[[A], Sequence[CopyDifference]]) -> None:
        self._judge = judge
        self.suspects: dict[str, Suspect[A]] = {}
        self.report = CopyReport(copy=Copy(name=check.value, state=CopyState.COMPARED), check=check)
        self.to_do: list[str] = []

    def add(self, accounts: Mapping[str, A]) -> None:
        for key, account in accounts.items():
            self.report.checked += account.size
            if key in self.suspects or key in self.to_do:
                continue
            differences = self._judge(account)
            for each in differences:
                if reason := copy_explanation(account, each):
                    explained = Explained(difference=each.difference, reason=reason)
                    self.report.explained.append(explained)
            if differences:
                self.to_do.append(key)
            if left := unexplained_copies(account, differences):
                self.suspects[key] = Suspect(account, left)

    def settle(
        self,
        system: System[A, None],
        *,
        within_s: float,
        pause: Callable[[float], object],
        clock: Clock,
    ) -> None:
        def unexplained(account: A) -> list[Difference]:
            return unexplained_copies(account, self._judge(account))

        settled = settle(
            self.suspects, system, unexplained, within_s=within_s, pause=pause, clock=clock
        )
        report = self.report
        for suspect in settled.wrong.values():
            report.wrong += suspect.differences
        for suspect in settled.in_flight.values():
            report.in_flight += suspect.differences
            report.awaited.append(suspect.waits_for)


def _spans(first: int, end: int) -> Iterator[tuple[int, int]]:
    """The offsets in spans that begin at the same places in each run."""
    start = first
    while start < end:
        stop = min((start // SPAN + 1) * SPAN, end)
        yield start, stop
        start = stop
