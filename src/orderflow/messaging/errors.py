"""
Every error the kit raises, named for what the reader should do next.

```
OrderflowError
├── ConfigurationError     fix the setting it names, start again
├── Transient              nobody's fault: wait, try again; never an attempt, never a dead letter
│   └── Unavailable        a resource (broker, database, registry, provider) can't be reached
├── Poison                 this record can never be handled: dead letter, at once
├── Refused                the kit won't start: the state does not fit together, and going on could lose or repeat
│   └── ResyncNeeded       the relay's position, slot and database disagree: `orderflow relay resync`
├── Fenced                 another process runs in this slot: this one ends
└── Incompatible           a schema or topic change that would break somebody: it names whom
```
"""


class OrderflowError(Exception):
    """The root: anything raised on purpose."""


class ConfigurationError(OrderflowError):
    """A setting is unknown, missing or wrong. The message names it."""


class Transient(OrderflowError):
    """A failure that time heals. `resource` says whose: registry, database, provider or broker."""

    def __init__(self, message: str, *, resource: str) -> None:
        super().__init__(message)
        self.resource = resource


class Unavailable(Transient):
    """The resource can't be reached, or answered that it can't serve."""


class Poison(OrderflowError):
    """A record that no repetition can make good: undecodable, null, nameless or foreign to its topic."""


class Refused(OrderflowError):
    """Starting, or going on, could lose or repeat records. Nothing was changed."""


class ResyncNeeded(Refused):
    """The relay's position, its slot and its database do not fit together."""


class Fenced(OrderflowError):
    """A newer process took this one's place; this one must end."""


class Incompatible(OrderflowError):
    """A schema or topic change is refused. The message says which field or setting breaks which reader."""
