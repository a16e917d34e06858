"""What each role of the operations service is built from; nothing is built elsewhere in it."""

from __future__ import annotations

from orderflow.contracts.roster import GROUPS, OBSERVED, SECTIONS, subscribed
from orderflow.contracts.topics import DEAD_LETTER_DISPOSITIONS
from orderflow.messaging.dead_letters.letter_watch import LetterWatch
from orderflow.messaging.http.server import Role
from orderflow.messaging.kafka.survey import Surveyor
from orderflow.messaging.process.role import Launch, worker_role
from orderflow.messaging.process.service import Service
from orderflow.services.operations.config import Settings
from orderflow.services.operations.gauges import Gauges
from orderflow.services.operations.observer import Observer


def observer(launch: Launch[Settings]) -> Role:
    kafka = launch.settings.kafka
    observing = Observer(
        lambda: Surveyor(kafka, {group: subscribed(group) for group in GROUPS}, topics=OBSERVED),
        lambda: LetterWatch(kafka, dispositions=DEAD_LETTER_DISPOSITIONS.name),
        Gauges(OBSERVED),
        every_s=launch.settings.operations.observer.every_s,
    )
    return worker_role(launch, run=observing.run, reasons=observing.reasons)


SERVICE = Service(
    name="operations",
    program="python -m orderflow.services.operations",
    settings=Settings,
    roles={"observer": observer},
    neighbours=SECTIONS,
)
