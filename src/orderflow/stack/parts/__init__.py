"""What the local stack is made of: real Kafka, PostgreSQL, the registry, and our own processes."""
