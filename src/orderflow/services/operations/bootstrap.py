"""What each role of the operations service is built from; nothing is built elsewhere in it."""

from __future__ import annotations

from contextlib import ExitStack, closing

from orderflow.books.audit import Books
from orderflow.connect.rest import ConnectClient
from orderflow.contracts.operator_commands import OPERATOR_COMMANDS
from orderflow.contracts.roster import ALL_GROUPS, GROUPS, OBSERVED, SECTIONS, subscribed
from orderflow.contracts.topics import DEAD_LETTER_DISPOSITIONS
from orderflow.messaging.dead_letters.desk import Desk
from orderflow.messaging.dead_letters.letter_watch import LetterWatch
from orderflow.messaging.errors import Unavailable
from orderflow.messaging.http.server import Role
from orderflow.messaging.kafka.groups import Groups
from orderflow.messaging.kafka.survey import Surveyor
from orderflow.messaging.process.role import Launch, worker_role
from orderflow.messaging.process.service import Service
from orderflow.messaging.schemas.avro import Decoder
from orderflow.messaging.schemas.registry import Registry
from orderflow.messaging.settings import KafkaSettings
from orderflow.services.operations.api import Sources, build_api
from orderflow.services.operations.auditor import Auditor, LastAudit
from orderflow.services.operations.config import Settings
from orderflow.services.operations.gauges import Gauges
from orderflow.services.operations.observer import Observer
from orderflow.services.operations.orders import OrderApi
from orderflow.services.operations.questions import Questions
from orderflow.services.operations.restarter import Restarter
from orderflow.services.operations.surveys import Surveys

WAITING_MAX = 32
"""Questions that wait for a thread; one more is 503 at once."""


LAST_AUDIT = LastAudit()
"""What this process knows of the books: its auditor writes it, its API reads it."""


def api(launch: Launch[Settings]) -> Role:
    kafka, operations = launch.settings.kafka, launch.settings.operations
    orders = OrderApi(operations.order.url)
    registry = Registry(launch.settings.registry)
    threads = {
        "brokers": Questions("the cluster", threads=1, waiting_max=WAITING_MAX),
        "others": Questions("orders", threads=4, waiting_max=WAITING_MAX),
        "letters": Questions("dead letters", threads=2, waiting_max=WAITING_MAX),
        "acts": Questions("replays", threads=1, waiting_max=WAITING_MAX),
    }
    sources = Sources(
        surveys=Surveys(lambda: _surveyor(kafka), lambda: Groups(kafka)),
        orders=orders,
        desk=lambda: _desk(kafka),
        decoder=Decoder(registry),
        last_audit=LAST_AUDIT,
        **threads,
    )

    opened = ExitStack()
    opened.enter_context(closing(orders))
    opened.enter_context(closing(registry))
    for questions in threads.values():
        opened.enter_context(closing(questions))

    def start() -> None:
        for questions in threads.values():
            questions.start()

    return Role(
        name=f"{launch.service}-{launch.role}",
        host=operations.api.host,
        port=operations.api.port,
        app=lambda reasons: build_api(sources, reasons),
        start=start,
        close=opened.close,
    )


def observer(launch: Launch[Settings]) -> Role:
    kafka = launch.settings.kafka
    observing = Observer(
        lambda: _surveyor(kafka),
        lambda: LetterWatch(kafka, dispositions=DEAD_LETTER_DISPOSITIONS.name),
        Gauges(OBSERVED),
        every_s=launch.settings.operations.observer.every_s,
    )
    return worker_role(launch, run=observing.run, reasons=observing.reasons)


def auditor(launch: Launch[Settings]) -> Role:
    settings = launch.settings
    # A store of its own: `orderflow books` may read at the same time.
    section = settings.books.model_copy(
        update={"state_dir": settings.books.state_dir / launch.service}
    )
    auditing = Auditor(
        lambda pause: Books(section, settings.kafka, settings.registry, pause=pause),
        LAST_AUDIT,
        every_s=settings.operations.auditor.every_s,
    )
    return worker_role(launch, run=auditing.run, reasons=auditing.reasons)


def restarter(launch: Launch[Settings]) -> Role:
    section = launch.settings.operations.restarter
    client = None if section.connect_url is None else ConnectClient(section.connect_url)
    registry = Registry(launch.settings.registry)

    def has_schemas() -> bool:
        try:
            registry.compatibility()
        except Unavailable:
            return False
        return True

    restarting = Restarter(client, has_schemas=has_schemas, every_s=section.every_s)
    return worker_role(launch, run=restarting.run, reasons=list)


def _desk(kafka: KafkaSettings) -> Desk:
    topics = {group: [topic.name for topic in listened] for group, listened in ALL_GROUPS.items()}
    return Desk(kafka, topics, DEAD_LETTER_DISPOSITIONS.name, commands=OPERATOR_COMMANDS)


def _surveyor(kafka: KafkaSettings) -> Surveyor:
    return Surveyor(kafka, {group: subscribed(group) for group in GROUPS}, topics=OBSERVED)


SERVICE = Service(
    name="operations",
    program="python -m orderflow.services.operations",
    settings=Settings,
    roles={"api": api, "observer": observer, "auditor": auditor, "restarter": restarter},
    neighbours=SECTIONS,
)
