"""
Records on their way through a container, their states and queues. Nothing here talks to Kafka.

| room | what is in it |
|---|---|
| `record` | one record: what never changes, and its state |
| `partition` | unfinished offsets of a partition, and the lanes of its keys |
| `queues` | records to prepare, ready, waiting, unread |
| `uncommitted` | what a turn has done, until its commit |
| `identity` | which event, order and trace a record is about: what lines about it name |
| `record_log` | a line for each finished record |
"""
