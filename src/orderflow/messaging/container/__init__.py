"""
The listener container: one thread, one consumer, one transactional producer, and the loop between them.

It works in turns: poll, admit, run waves, commit. `poll` is only called with no transaction open, so a rebalance only
ever drops state. What a record waits for, it waits for in place: later records of its key queue behind it, all others
go on, and what commits is the lowest unfinished offset with the finished ones above it in the commit's metadata.
"""

from orderflow.messaging.container.container import Container
from orderflow.messaging.container.settings import ContainerSettings

__all__ = ["Container", "ContainerSettings"]
