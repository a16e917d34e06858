"""
`python -m tests.support.outbox_probe_relay [resync | caretaker]`: the kit's relay for a probe
service, in its own process; or a resync, or what looks after the outbox while another publishes.
"""

from __future__ import annotations

import signal
import sys
import threading

from orderflow.messaging.errors import Fenced, OperatorCommands, Refused
from orderflow.messaging.postgres import outbox
from orderflow.messaging.relay import Caretaker, Relay, RelaySettings
from orderflow.messaging.relay.resync import resync
from orderflow.messaging.settings import DatabaseSettings, ProcessSettings, Section, load
from orderflow.messaging.telemetry import configure


class Probe(Section):
    service: str
    database: DatabaseSettings
    tick_every_s: float = 60.0


class Settings(ProcessSettings):
    probe: Probe


def main() -> int:
    settings = load(Settings)
    configure(settings.probe.service, settings.telemetry)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())

    relay = RelaySettings(
        service=settings.probe.service,
        database=settings.probe.database,
        kafka=settings.kafka,
        rows_max=50 if "resync" in sys.argv else outbox.ROWS_MAX,
        tick_every_s=settings.probe.tick_every_s,
        commands=OperatorCommands(resync="`orderflow relay resync {service}`"),
    )

    try:
        if "resync" in sys.argv:
            resync(relay)
        elif "caretaker" in sys.argv:
            Caretaker(relay).run(stop)
        else:
            Relay(relay).run(stop)
    except (Refused, Fenced) as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
