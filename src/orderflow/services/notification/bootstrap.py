"""What each role of the notification service is built from; nothing is built elsewhere in it."""

from __future__ import annotations

import threading
from pathlib import Path

from orderflow.contracts.operator_commands import OPERATOR_COMMANDS
from orderflow.contracts.roster import SECTIONS
from orderflow.contracts.schemas import CATALOGUE
from orderflow.contracts.topics import NOTIFICATIONS
from orderflow.messaging import postgres
from orderflow.messaging.http.server import Role
from orderflow.messaging.kafka.progress import GroupProgress
from orderflow.messaging.process.prerequisites import Prerequisites
from orderflow.messaging.process.role import STOP_WITHIN_S, Launch, worker_role
from orderflow.messaging.process.roles import api_role, listener_role, relay_role
from orderflow.messaging.process.service import Service
from orderflow.messaging.work.calls import Calls
from orderflow.messaging.work.gate import Gate
from orderflow.services.notification.api import build_api
from orderflow.services.notification.config import Settings
from orderflow.services.notification.listeners import LISTENER
from orderflow.services.notification.mailer import Mailer
from orderflow.services.notification.measurements import MEASUREMENTS
from orderflow.services.notification.releaser import Releaser
from orderflow.services.notification.sender import Sender


def sender(launch: Launch[Settings]) -> Role:
    settings, notification = launch.settings, launch.settings.notification
    section = notification.sender
    name = f"{launch.service}-sender-{launch.slot}"
    session = postgres.Session(
        notification.database, application_name=name, session=postgres.BY_KEY
    )

    # The mailer asks the sender whether to begin another letter, and the sender's calls are its.
    mailer = Mailer(
        notification.smtp,
        give_up_s=notification.sender.give_up_s,
        stopping=lambda: sending.is_stopping,
    )
    sending = Sender(
        name,
        settings=section,
        prerequisites=Prerequisites(
            transaction=session.transaction,
            relay=launch.service,
            registry=settings.registry,
            catalogue=CATALOGUE,
            topics=(NOTIFICATIONS.name,),
        ),
        session=session,
        mailer=mailer,
        calls=Calls(mailer.call, section.connections_max),
        mail_gate=Gate(name, "send"),
        database_gate=Gate(name, "record"),
    )

    releaser = _releaser(launch, name)

    def release(stop: threading.Event) -> None:
        try:
            releaser.run(stop)
        except BaseException as error:  # noqa: BLE001 - the thread's end ends the process
            launch.fail(error)

    def run(stop: threading.Event) -> None:
        releasing = threading.Thread(target=release, args=(stop,), name="releaser", daemon=True)
        releasing.start()
        try:
            sending.run(stop)
        finally:
            # Whatever ends the sender ends the process, and then nothing is released either.
            stop.set()
            releasing.join(STOP_WITHIN_S)

    def reasons() -> list[str]:
        return [*sending.reasons(), *releaser.reasons()]

    return worker_role(launch, run=run, reasons=reasons, in_slots=True)


def _releaser(launch: Launch[Settings], name: str) -> Releaser:
    settings, notification = launch.settings, launch.settings.notification
    return Releaser(
        settings=notification.hold,
        session=postgres.Session(
            notification.database, application_name=f"{name}-releaser", session=postgres.BY_KEY
        ),
        progress=GroupProgress(
            settings.kafka, group=LISTENER.group, topics=tuple(LISTENER.subscribed)
        ),
    )


SERVICE = Service(
    name="notification",
    program="python -m orderflow.services.notification",
    settings=Settings,
    roles={
        "api": api_role(build_api, table="delivery", measurements=MEASUREMENTS),
        "listener": listener_role(LISTENER, catalogue=CATALOGUE),
        "sender": sender,
        "relay": relay_role(commands=OPERATOR_COMMANDS),
    },
    migrations=(Path(__file__).parent / "migrations",),
    neighbours=SECTIONS,
)
