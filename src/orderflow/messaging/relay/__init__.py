"""Outbox → Kafka: `Relay(RelaySettings(service=…, database=…, kafka=…)).run(stop)`."""

from orderflow.messaging.relay.health import Health, RelayState
from orderflow.messaging.relay.relay import Relay
from orderflow.messaging.relay.session import RelaySettings

__all__ = ["Health", "Relay", "RelaySettings", "RelayState"]
