"""
In flight, or wrong? Decided by positions, never by a sleep.

Whoever reads several sides of a live system reads each at another moment, so an account with a
difference is only a *suspect*. For each suspect:

1. Its account was read. **After** that a *mark* is taken: the end of every service's write-ahead
   log, and the end of every topic. All that was committed while the account was read is below it.
2. See how far every relay has published, and every group has finished.
3. Then read the account again. No difference: it was in flight. Another account: something happened
   meanwhile; from 1 again. The same account: if all below the mark was published and finished in 2,
   it is **wrong**; else from 2 again.

Why that is sound. Every side only ever grows (rows have revisions, topics are appended to, inboxes
keep ids), so an account that is read twice and is the same was the same all the time between: all
sides said that at the moment of the mark, at once. Were a piece of work still on its way that mends
the difference, then it was caused by a commit: by one below the mark, but all those have had their
effects, which the second reading would show; or by one above it, which would have changed the
account itself. A mark that is taken before the first reading has ended proves nothing: what is
committed after it, and read, is waited for by nobody.

Work without a position has none of these differences: a notification that is PENDING or HELD has no
event to be missed, a call of the provider is made while its record's offset is not committed, and
deadlines change the order's row when they act. Somebody who stands still keeps a suspect in flight,
and is named; it never becomes wrong by time alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Generic, Protocol, TypeVar

import msgspec

from orderflow.books.report import Difference
from orderflow.messaging.work.clock import CLOCK, Clock

PAUSES_S = (0.1, 2.0)
"""Between two looks: the first, doubled up to the last. They decide nothing."""

A = TypeVar("A")
M = TypeVar("M")


class Suspect(msgspec.Struct, Generic[A]):
    """An account as it was read, with its differences; `waits_for`: whom, as last seen."""

    account: A
    differences: Sequence[Difference]
    waits_for: str = ""


class System(Protocol[A, M]):
    """What `settle` asks of the system. Every method raises Transient when it can't be asked."""

    def mark(self) -> M:
        """Where every log and topic ends now."""
        ...

    def waits(self, mark: M, accounts: Mapping[str, A]) -> Mapping[str, str]:
        """By key, for whom that account still waits before `mark` is passed; left out: nobody."""
        ...

    def read(self, keys: Sequence[str]) -> Mapping[str, A] | None:
        """
        These accounts now, with all that is on the topics by now; None if some of that can't be
        read yet, behind a transaction that is open.
        """
        ...


class Settled(msgspec.Struct, Generic[A]):
    """`wrong` is proved; `in_flight` is not decided, and says for whom it waits."""

    wrong: dict[str, Suspect[A]] = {}
    in_flight: dict[str, Suspect[A]] = {}


def settle(
    suspects: Mapping[str, Suspect[A]],
    system: System[A, M],
    judge: Callable[[A], Sequence[Difference]],
    *,
    within_s: float,
    pause: Callable[[float], object],
    clock: Clock = CLOCK,
) -> Settled[A]:
    """
    Decide about `suspects`, whose accounts were read before this call, as far as that is possible
    within about `within_s`.
    """
    settled: Settled[A] = Settled(wrong={}, in_flight={})
    if not suspects:
        return settled
    # After the reading: what was committed while the accounts were read must be below the mark.
    rounds: list[tuple[M, dict[str, Suspect[A]]]] = [(system.mark(), dict(suspects))]
    deadline, rest_s = clock.monotonic() + within_s, PAUSES_S[0]

    while rounds:
        open_rounds: list[tuple[M, dict[str, Suspect[A]]]] = []
        changed: dict[str, Suspect[A]] = {}
        for mark, members in rounds:
            waiting = _look_again(mark, members, system, judge, settled=settled, changed=changed)
            if waiting:
                open_rounds.append((mark, waiting))
        if changed:
            open_rounds.append((system.mark(), changed))

        rounds = open_rounds
        if rounds and clock.monotonic() >= deadline:
            break
        if rounds:
            pause(rest_s)
            rest_s = min(2 * rest_s, PAUSES_S[1])

    for _mark, members in rounds:
        settled.in_flight |= members
    return settled


def _look_again(
    mark: M,
    members: dict[str, Suspect[A]],
    system: System[A, M],
    judge: Callable[[A], Sequence[Difference]],
    *,
    settled: Settled[A],
    changed: dict[str, Suspect[A]],
) -> dict[str, Suspect[A]]:
    """Decide about one mark's members as far as that is possible; returns those that still wait."""
    # Positions first, accounts after: what had passed the mark by then has had its effect.
    waits = system.waits(mark, {key: suspect.account for key, suspect in members.items()})
    again = system.read(sorted(members))
    if again is None:
        for suspect in members.values():
            suspect.waits_for = "a transaction that is open on a topic"
        return members

    waiting: dict[str, Suspect[A]] = {}
    for key, before in members.items():
        account = again[key]
        differences = judge(account)
        if not differences:
            continue
        if account != before.account:
            changed[key] = Suspect(account, differences, waits.get(key, ""))
        elif key in waits:
            waiting[key] = Suspect(account, differences, waits[key])
        else:
            settled.wrong[key] = Suspect(account, differences)
    return waiting
