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
| `kafka_client` | what the loop needs of Kafka, as a protocol |
| `client`, `assignment` | that protocol on brokers: producer and polls; partitions |
| `effect_database` | what `InboxOutbox` needs of its database, as a protocol; PostgreSQL |
| `partition`, `record` | unfinished offsets and lanes of keys; one record and its state |
| `queues`, `uncommitted` | where records stand; what the turn has done |
| `gates`, `shared` | which stages are closed; what all stages share |
| `admission`, `intake` | from fetched to queued; from bytes to what a handler gets |
| `preparing` | the stage of `Prepare`: effects outside, intended, done, recorded |
| `waves`, `failures` | waves and halving; attempts, back-offs, dead letters |
| `deliveries` | how a wave's effects and its offsets become true together |
| `publishing`, `record_log` | what handlers return, as records or rows; a line for each record |
| `metrics`, `settings` | counters; settings |
| `upkeep` | what a listener with `InboxOutbox` needs around it |
"""

from orderflow.messaging.container.container import Container
from orderflow.messaging.container.settings import ContainerSettings

__all__ = ["Container", "ContainerSettings"]
