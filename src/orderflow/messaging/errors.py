"""
Every error that the kit raises, named for what the reader should do next.

```
OrderflowError
├── ConfigurationError       correct the setting that it names, start again
│   └── LetterGone           name another dead letter: there is none there (dead_letters.desk)
├── Transient                wait and try again: not an attempt, never a dead letter
│   ├── Unavailable          a resource (broker, database, registry, provider) can't serve
│   │   └── Unfit            it answers, and as something else: look at address, login, deployment
│   ├── Contention           others hold what this work needs: less of it, later, and others first
│   ├── TransactionAborted   the same producer sends the same records again (kafka.transactions)
│   └── ProducerLost         a new producer reads what was committed (kafka.transactions)
├── RecordFault              the record is at fault, not its handler: its attempts count, always
│   └── Poison               it can never be handled: a dead letter, at once
├── UnknownOutcome           nobody knows what a call did: a dead letter (container.failures)
├── OutputRefused            the broker refuses what it causes: attempts count (container.refusals)
├── DoesNotFit               an event is too large: attempts count (container.stages.publisher)
├── Refused                  an operator decides: going on could lose or repeat records
│   └── ResyncNeeded         resync the relay: position, slot and database disagree
├── Fenced                   another process has taken this one's place: this one ends
│   ├── DeskTaken            look at what is open, begin again (dead_letters.desk_session)
│   └── StoreTaken           so it has the state store (streams.store.store)
├── StoreDamaged             set the state store aside, restore it (streams.store.store)
├── NotSent                  no connection: nothing of the call happened (http.loop_client)
├── NoReply                  a call may have had its effect, or not: look (http.loop_client)
│   └── TooLong              so it may, but whoever answers makes no sense (http.loop_client)
├── Stopped                  the process was asked to stop: it ends
├── QueueFull                too much work waits: ask again in a moment (postgres.group_commit)
├── Expired                  it waited too long and was not begun: ask again (postgres.group_commit)
└── Incompatible             a schema or topic change would break a reader: change it otherwise
```

Errors that several packages raise are defined here; then the drawing names the room. This module
imports the standard library only: set-up uses it before anything is installed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


class OrderflowError(Exception):
    """The root: whatever the kit raises on purpose."""


class ConfigurationError(OrderflowError):
    """A setting is unknown, missing or wrong. The message names it."""


class Transient(OrderflowError):
    """
    A failure that time heals. `resource`: registry, database, broker or provider. It asks not to be
    tried again before `retry_after_s`.

    The message may quote a server or a driver: it is for the log, without the hosts and users that
    they name. `reason` is for everybody, in words of ours alone, with the resource as subject.
    """

    usual_reason = "has to be tried again"

    def __init__(
        self, message: str, *, resource: str, retry_after_s: float = 0.0, reason: str = ""
    ) -> None:
        super().__init__(redacted(message))
        self.resource = resource
        self.retry_after_s = retry_after_s
        self.reason = reason or self.usual_reason


class Unavailable(Transient):
    """
    The resource can't be reached, or answered that it can't serve: it is read-only, for example, or
    lacks a table that a deployment has still to create.
    """

    usual_reason = "away"


class Unfit(Unavailable):
    """
    What answers is not what this program was made for: another server, a login that is refused, a
    database without the objects. A worker waits for it as for any resource; a step that somebody
    waits for ends, because as a rule only a person mends it.
    """

    usual_reason = "answers as something else"


class Contention(Transient):
    """
    This work waited too long for a lock, or took too long; the resource itself is there.

    Whoever has other work goes on with it. In a listener: the wave is halved, and a record that
    meets it alone waits in place, however often; no attempt, never a dead letter.
    """

    usual_reason = "busy"


class RecordFault(OrderflowError):
    """
    The record refers to what does not exist, or contradicts what is recorded.

    A handler that raises this, or a class of its own below this, has judged the record, and works
    itself: the record's attempts count whatever else fails, and end in a dead letter.
    """


class Poison(RecordFault):
    """A record that no retry can handle: undecodable, without value or id, foreign to its topic."""


class Refused(OrderflowError):
    """Starting, or going on, could lose or repeat records. Nothing was changed."""


class ResyncNeeded(Refused):
    """The relay's position, its slot and its database do not fit together."""


class Fenced(OrderflowError):
    """A newer process took this one's place; this one must end."""


class Stopped(OrderflowError):
    """
    The process was asked to stop while something was under way.

    What was not committed is left to the next start, which reads the committed state.
    """


class Incompatible(OrderflowError):
    """A schema or topic change is refused; the message names field or setting, and reader."""


def plain(error: BaseException) -> str:
    """Why something waits, for everybody: no text of a server or driver, no host, no user."""
    if isinstance(error, Transient):
        return f"{error.resource}: {error.reason}"
    return f"an error that nobody expected ({type(error).__name__}): see the log"


def redacted(text: str) -> str:
    """`text` without the hosts and users that PostgreSQL's and Kafka's clients name in theirs."""
    for pattern, replacement in _REDACTED:
        text = pattern.sub(replacement, text)
    return text


_REDACTED = (
    (re.compile(r'(server (?:at|on)|host name|host|socket) "[^"]*"(?: \([^)]*\))?'), r"\1 …"),
    (re.compile(r", port \d+"), ""),
    (re.compile(r'\b(user|role|database) "[^"]*"'), r"\1 …"),
    (re.compile(r"\bhost=\S+|\bhostaddr=\S+|\buser=\S+"), "…"),
    (re.compile(r"[\w.\-\[\]:]+:\d+/(?:bootstrap|\d+)"), "…"),
    (re.compile(r"\bipv[46]#\S+"), "…"),
)


@dataclass(frozen=True, kw_only=True)
class OperatorCommands:
    """
    The commands that an operator runs, as messages name them: whoever embeds the kit names its own.

    `stop_relay` is a clause; `{service}` in it, in `resync` and in `held_rows` stands for the
    service's name.
    """

    resync: str = "a resync"
    stop_relay: str = "stop it first"
    apply_topics: str = "create it first"
    apply_schemas: str = "the registration of the schemas"
    check_schemas: str = "a check of the schemas"
    held_rows: str = "the table of held rows"


NEUTRAL = OperatorCommands()
"""For a process that is nobody's product: messages say what to do without a command."""
