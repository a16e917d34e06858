"""
`python -m orderflow.neighbours.mail`: the mail sink.

Exit codes: 0 stopped on request, 2 a setting is wrong.
"""

from __future__ import annotations

import asyncio
import random
import sys

from orderflow.messaging.errors import ConfigurationError
from orderflow.messaging.http.server import Role, listen, serve
from orderflow.messaging.telemetry import configure
from orderflow.neighbours.mail.api import build_api
from orderflow.neighbours.mail.config import MailSettings, load
from orderflow.neighbours.mail.faults import Faults
from orderflow.neighbours.mail.mailbox import Mailbox
from orderflow.neighbours.mail.smtp_server import Receiver


def build(settings: MailSettings) -> Role:
    mailbox = Mailbox(settings.directory)
    receiver = Receiver(
        mailbox,
        listen("mail-smtp", settings.smtp_host, settings.smtp_port),
        faults=Faults(),
        chance=random.Random(),  # noqa: S311 - faults need no secrecy
        loop=asyncio.get_running_loop(),
    )

    def close() -> None:
        receiver.close()
        mailbox.close()

    return Role(
        name="mail",
        host=settings.host,
        port=settings.port,
        app=lambda _reasons: build_api(mailbox, receiver),
        start=receiver.start,
        close=close,
    )


def main() -> int:
    try:
        settings = load()
        configure("mail", settings.telemetry)
        serve(lambda _fail: build(settings.mail))
    except ConfigurationError as error:
        sys.stderr.write(f"mail: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
