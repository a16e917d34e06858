"""
Deliveries: how a wave's effects and the offsets of its records commit together.

| room | what is in it |
|---|---|
| `delivery` | the interface |
| `kafka`, `database` | the two deliveries that a listener can declare |
| `transaction` | the Kafka transaction at the end of a turn, which both use |
| `effect_database` | what `InboxOutbox` needs of its database, as a protocol; PostgreSQL |
"""
