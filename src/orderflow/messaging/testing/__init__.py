"""
Doubles that ship with the kit, and waiting with a deadline.

`bus` runs real containers on `memory_broker`, with `memory_client`, `memory_clock` and
`memory_database` in place of Kafka, time and PostgreSQL; `registry` is a schema registry in memory;
`eventually` is the only way a test may wait.
"""
