"""
The lake exporter: every event of `payments` as a row of a Parquet file, for tools that know files.

Owns: the objects `payments/date=…/hour=…/payments-<partition>-<first offset>.parquet` under one
root, a directory or an S3-compatible bucket. It has no database.
Consumes: PaymentSucceeded, PaymentFailed, PaymentRefunded from `payments`, as group
`lake-exporter`.
Publishes: nothing.
Guarantee: one row for each record, in the one object that its hour, partition and offset name, and
durable before the record's offset is committed. A repeat, a writer that was taken for dead and the
order of writers change nothing; a reader never sees half an object. An event that is on the topic
twice has two rows with one event id: sums count it once.
"""
