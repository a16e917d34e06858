"""
The relay publishes the rows of an outbox table to Kafka, in commit order, exactly once.

`Relay(RelaySettings(service=…, database=…, kafka=…)).run(stop)`.

- `relay`: the loop over sessions, and what the relay does when one fails; `batch_reader`: what a
  session publishes next; `health`: what the relay reports
- `session`: one session, from taking the slot to the first failure; `session_start`: its first
  steps; `start_decision`: whether it may go on, as a pure function
- `position`: how far the outbox is published, kept on Kafka
- `replication`: PostgreSQL's walsender protocol; `pgoutput`: its messages; `records`: their rows
- `hold_decision`: which rows go and which are held, as pure functions; `held_store`: the held rows
  in the database; `held_rows`: what operators see of them, and want
- `caretaker`: what is left to do where another reader publishes; `following`: its session
- `pg_catalog`, `relay_state`, `outbox_partitions`: the database over an ordinary connection
- `backlog`: what is not published yet, asked by whoever is alive
- `resync`: a new slot and a new position, after a refusal; `retained_rows`: what it publishes again
"""

from orderflow.messaging.relay.caretaker import Caretaker
from orderflow.messaging.relay.health import Health, RelayState
from orderflow.messaging.relay.relay import Relay
from orderflow.messaging.relay.settings import RelaySettings

__all__ = ["Caretaker", "Health", "Relay", "RelaySettings", "RelayState"]
