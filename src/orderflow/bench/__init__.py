"""
Benchmarks: commands that print ratios against a naive baseline of the same run, on one machine.

A figure without its baseline describes the machine, not the program. Rooms: `post` (orders over
HTTP), `relay` (outbox rows to records), `payment` (a Kafka transaction for many records),
`inventory` (a database transaction for many records; and the way from POST to the last event),
`revenue` (payments folded into tables, exactly once), each with its `bench`, its `report` and its
`naive` baseline; `naive_consumer` (what both naive
listeners share); `service_data` (what it reads of the services); `cli`. Load, arrivals and the
temporary stack come from `trials`.
"""
