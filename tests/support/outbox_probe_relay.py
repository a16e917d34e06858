"""`python -m tests.support.outbox_probe_relay`: the kit's relay for a probe service, as a process of its own."""

from __future__ import annotations

import signal
import sys
import threading

from orderflow.messaging.errors import Fenced, Refused
from orderflow.messaging.relay import Relay, RelaySettings
from orderflow.messaging.settings import DatabaseSettings, ProcessSettings, Section, load
from orderflow.messaging.telemetry import configure


class Probe(Section):
    service: str
    database: DatabaseSettings


class Settings(ProcessSettings):
    probe: Probe


def main() -> int:
    settings = load(Settings)
    configure(settings.probe.service, settings.telemetry)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    relay = Relay(RelaySettings(service=settings.probe.service, database=settings.probe.database, kafka=settings.kafka))
    try:
        relay.run(stop)
    except (Refused, Fenced) as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
