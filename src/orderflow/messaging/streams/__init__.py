"""
Keyed aggregation on the container: Kafka Streams' part, in its words.

A topology re-keys the records of a source topic through a repartition topic, folds them into
tables, and keeps each table in a state store whose changelog is a compacted topic. Input offsets,
changelog and output commit in one Kafka transaction; the store is written after it, so it never
holds what was not committed, and a crash never needs a wipe.

| room | what is in it |
|---|---|
| `topology`, `windows` | topologies, tables and windows as values: pure functions of events |
| `store` | state stores: SQLite, and their twin in memory |
| `changelog` | what is read from a changelog, and how a set of facts is coded on it |
| `broker_changelog` | reads changelogs on brokers |
| `restore` | restores state stores from changelogs |
| `table_task` | one table on one partition: overlay, commit, store |
| `directory` | who has which partition, and how fresh it is |
| `interactive_queries` | reads of the tables over HTTP, whoever has the key |
| `local_state` | what this instance has of the tables, for readers on any thread |
| `pause` | whether its listener is to stand still |
| `rebuild/` | the state anew from the log, beside a running service |
"""
