"""
The listener container: one thread, one consumer, one transactional producer, and the loop between them.

It works in turns: poll, admit, prepare, handle, commit. `poll` is only called with no transaction open, so a rebalance
only ever drops state. A record that must wait waits in place: later records of its key queue behind it, all others go
on. The lowest unfinished offset is committed, and the finished offsets above it are in the commit's metadata.

| room | what is in it |
|---|---|
| `container` | the worker: start, run, stop; what is done about every kind of failure |
| `loop` | one turn, in the order of its stages; everything that a turn needs is made here |
| `kafka_client`, `client` | what the loop needs of Kafka, as a protocol; the real one |
| `effect_database` | what `InboxOutbox` needs of its database, as a protocol; PostgreSQL |
| `partition`, `record` | which offsets are unfinished, the lanes of keys; one record and its state |
| `queues`, `uncommitted`, `gates`, `shared` | where records stand; what the turn has done; which stages are closed |
| `admission`, `intake` | from fetched to queued; from bytes to what a handler gets |
| `preparing` | the stage of `Prepare`: effects outside, intended, done, recorded |
| `waves`, `failures` | waves and halving; attempts, back-offs, dead letters |
| `deliveries` | how a wave's effects and its offsets become true together |
| `publishing`, `record_log`, `metrics`, `settings` | what is published; a line for each record; counters; settings |
| `upkeep` | what a listener with `InboxOutbox` needs around it |
"""

from orderflow.messaging.container.container import Container
from orderflow.messaging.container.settings import ContainerSettings

__all__ = ["Container", "ContainerSettings"]
