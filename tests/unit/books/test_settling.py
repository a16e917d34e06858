"""
In flight or wrong: a scripted system of two sides, a log that publishes, and a group that handles.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from orderflow.books.report import Check, Difference, Subject
from orderflow.books.settling import Settled, Suspect, settle
from orderflow.messaging.testing.memory_clock import MemoryClock


class Account(msgspec.Struct, frozen=True):
    """How many facts each side has: they are to be the same."""

    committed: int
    handled: int


def judge(account: Account) -> Sequence[Difference]:
    if account.committed == account.handled:
        return []
    return [
        Difference(
            check=Check.COMMITTED,
            subject=Subject.ORDER,
            id="1",
            expected=f"{account.committed}",
            actual=f"{account.handled}",
        )
    ]


class Script:
    """
    One account. A commit appends to the log; `work()` handles the next record of it, or loses it if
    `loses` says so. `between`: what happens at the begin of each question, in turn.
    """

    def __init__(self, between: Sequence[Callable[[Script], None]] = ()) -> None:
        self.committed = self.position = self.handled = 0
        self.loses = False
        self.is_hidden = False
        self.clock = MemoryClock()
        self._between = list(between)
        self.asked: list[str] = []

    def commit(self) -> None:
        self.committed += 1

    def work(self) -> None:
        if self.position < self.committed:
            self.position += 1
            self.handled += not self.loses

    def account(self) -> Account:
        return Account(self.committed, self.handled)

    def mark(self) -> int:
        self._happen("mark")
        return self.committed

    def waits(self, mark: int, accounts: Mapping[str, Account]) -> Mapping[str, str]:
        self._happen("waits")
        return (
            dict.fromkeys(accounts, f"worker, {mark - self.position} to go")
            if (self.position < mark)
            else {}
        )

    def read(self, keys: Sequence[str]) -> Mapping[str, Account] | None:
        self._happen("read")
        return None if self.is_hidden else dict.fromkeys(keys, self.account())

    def pause(self, seconds: float) -> None:
        self.clock.advance(seconds)

    def settled(self, within_s: float = 10) -> Settled[Account]:
        account = self.account()
        suspects = {"1": Suspect(account, judge(account))} if judge(account) else {}
        return settle(suspects, self, judge, within_s=within_s, pause=self.pause, clock=self.clock)

    def _happen(self, question: str) -> None:
        self.asked.append(question)
        if self._between:
            self._between.pop(0)(self)


def nothing(_script: Script) -> None: ...


def test_what_arrives_was_in_flight() -> None:
    script = Script([nothing, nothing, Script.work])
    script.commit()
    assert script.settled() == Settled(wrong={}, in_flight={})


def test_what_was_lost_is_wrong_and_decided_without_waiting() -> None:
    script = Script()
    script.loses = True
    script.commit()
    script.work()

    settled = script.settled()
    assert settled.wrong["1"].account == Account(1, 0)
    assert script.clock.monotonic() == Script().clock.monotonic(), "no time was needed"


def test_a_worker_that_stands_still_is_named_and_never_accused() -> None:
    script = Script()
    script.commit()
    settled = script.settled(within_s=600)
    assert not settled.wrong
    assert settled.in_flight["1"].waits_for == "worker, 1 to go"


def test_what_is_committed_while_accounts_are_read_is_below_the_mark() -> None:
    # The row was committed after some position, and read; the worker has passed that position.
    script = Script()
    script.commit()
    script.work()
    script.commit()
    settled = script.settled(within_s=1)
    assert not settled.wrong, "the mark has to be taken after the reading"
    assert settled.in_flight


def test_an_account_that_changes_meanwhile_gets_a_new_mark() -> None:
    # Another commit comes after the mark is passed, and before the account is read again: the
    # difference that is seen then is the new one's.
    def pass_and_commit(script: Script) -> None:
        script.work()
        script.commit()

    script = Script([nothing, pass_and_commit])
    script.commit()
    settled = script.settled(within_s=1)
    assert not settled.wrong
    assert settled.in_flight["1"].account == Account(2, 1)
    assert script.asked.count("mark") == 2


def test_a_loss_is_found_behind_changes() -> None:
    def lose(script: Script) -> None:
        script.loses = True
        script.work()
        script.loses = False

    def commit_and_work(script: Script) -> None:
        script.commit()
        script.work()

    script = Script([nothing, lose, commit_and_work])
    script.commit()
    assert script.settled().wrong["1"].account == Account(2, 1)


def test_an_open_transaction_leaves_everything_in_flight() -> None:
    script = Script()
    script.loses = script.is_hidden = True
    script.commit()
    script.work()
    settled = script.settled(within_s=1)
    assert not settled.wrong
    assert "transaction" in settled.in_flight["1"].waits_for


acts = st.lists(st.sampled_from([Script.commit, Script.work, nothing, Script.work]), max_size=60)


@given(before=acts, meanwhile=acts)
def test_a_system_that_loses_nothing_is_never_accused(
    before: list[Callable[[Script], None]], meanwhile: list[Callable[[Script], None]]
) -> None:
    script = Script(meanwhile)
    for act in before:
        act(script)
    assert not script.settled(within_s=3).wrong


@given(before=acts, meanwhile=acts)
def test_a_loss_is_always_found_once_all_have_worked(
    before: list[Callable[[Script], None]], meanwhile: list[Callable[[Script], None]]
) -> None:
    script = Script([*meanwhile, *[Script.work] * 200])
    script.commit()
    script.loses = True
    script.work()
    script.loses = False
    for act in before:
        act(script)

    settled = script.settled(within_s=600)
    assert settled.wrong, settled
