"""The kit: facts in, facts out, delivered as declared. It knows Kafka, PostgreSQL, Avro and traces; nothing of orders.

Rooms: `event` (metadata ↔ headers), `avro` (events ↔ bytes), `outbox` (rows that become records), `relay` (outbox →
Kafka, exactly once), `kafka` (clients and admin), `postgres` (pool, migrations), `settings`, `telemetry`, `errors`,
`testing` (probes, failpoints, `eventually`).
"""
