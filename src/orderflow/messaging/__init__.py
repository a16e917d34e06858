"""
The kit: events in, events out, delivered as a listener declares. It knows nothing of orders.

- `listener`: the table entry of a handler: topics, types, key, delivery, retries
- `event`: CloudEvents metadata and its record headers
- `settings`: configuration from environment variables and secret files
- `database_variables`: the driver's own environment variables, which are not read
- `errors`: every error that the kit raises, as one tree
- `failpoints`: named lines at which a test makes the process die

- `container`: consumes a listener's topics, runs its handler, commits offsets and effects together
- `work`: gates that probe a resource, and limited parallel calls
- `relay`: publishes the rows of the outbox to Kafka, in commit order, exactly once
- `dead_letters`: the record of a failed record, with its evidence in Spring's headers
- `kafka`: clients, transactions, topics, consumer lag
- `postgres`: connections, migrations, outbox, inbox, group commit
- `schemas`: Avro schemas: the committed history, the registry, encoding, compatibility
- `process`: a service's process: its roles, start, readiness, stop
- `http`: routes for health and metrics, request bodies, problem documents
- `documents`: OpenAPI and AsyncAPI, derived from the code
- `telemetry`: logs and metrics
- `testing`: an in-memory bus and registry with the guarantees of the real ones, and `eventually`
"""
