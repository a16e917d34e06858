"""
Deliveries: how a wave's effects and the offsets of its records commit together.

| room | what is in it |
|---|---|
| `delivery` | the interface |
| `kafka`, `stateful`, `database`, `idempotent` | the deliveries that a listener can declare |
| `after_effect` | offsets and dead letters behind an effect outside Kafka: the last two |
| `transaction` | the Kafka transaction at the end of a turn, which all use |
| `effect_database` | what `InboxOutbox` needs of its database, as a protocol; PostgreSQL |
"""
