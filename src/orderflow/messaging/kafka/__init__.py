"""The door to Kafka: clients with the settings that exactly-once needs, transactions, topics, admin."""
