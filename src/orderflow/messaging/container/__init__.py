"""
The listener container: one thread, one consumer, one transactional producer, and the loop between
them.

It works in turns: poll, admit, prepare, handle, commit. `poll` is only called with no transaction
open, so a rebalance only ever drops state. A record that must wait waits in place: later records of
its key queue behind it, all others go on. The lowest unfinished offset is committed, and the
finished offsets above it are in the commit's metadata.

| room | what is in it |
|---|---|
| `container` | the worker: start, run, stop; what is done about every kind of failure |
| `loop` | one turn, in the order of its stages; everything that a turn needs is made here |
| `client/` | the Kafka half: a protocol, and its implementation on brokers |
| `stages/` | admission and intake, prepare, waves, what a handler publishes, gates |
| `failures` | attempts, back-offs, dead letters |
| `deliveries/` | how a wave's effects and its offsets commit together |
| `records/` | a record and its state, partitions, queues |
| `shared`, `settings`, `metrics` | what all stages share; settings; counters |
"""

from orderflow.messaging.container.container import Container
from orderflow.messaging.container.settings import ContainerSettings

__all__ = ["Container", "ContainerSettings"]
