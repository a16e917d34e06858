"""Orderflow: an event-driven order backbone on Apache Kafka and PostgreSQL."""

__version__ = "0.1.0"
