"""
The container's Kafka half.

| room | what is in it |
|---|---|
| `kafka_client` | what the container needs of Kafka, as a protocol; the double of the tests too |
| `broker_client` | the protocol on brokers: one consumer, one transactional producer |
| `assignment` | partitions that come and go, and their state from what the group committed |
| `out_of_range` | what to do when a log does not have the offset at which its group stands |
"""
