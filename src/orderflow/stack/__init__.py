"""The local stack: real Kafka, PostgreSQL and registry, and our services, as child processes with readiness gates."""
