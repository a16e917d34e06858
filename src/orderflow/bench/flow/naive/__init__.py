"""
The baseline of `bench flow`: the same flow as it is first written, every record for itself.

An API with one transaction for each request (`api`), a poller for each outbox (that of `bench
relay`), `payment` with a Kafka transaction for each record, `inventory` and `notification` with a
database transaction for each record. JSON, three processes of each listener, nothing in batches.
It calls a provider and a mail sink of the same kind as ours, over a plain client each.
"""
