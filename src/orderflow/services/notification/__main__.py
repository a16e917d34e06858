"""`python -m orderflow.services.notification --roles api,listener,sender,relay`: the notification service."""

from __future__ import annotations

import sys

from orderflow.messaging.process.main import main
from orderflow.services.notification import bootstrap
from orderflow.services.notification.config import load

if __name__ == "__main__":
    sys.exit(
        main(
            "notification",
            roles=("api", "listener", "sender", "relay"),
            default="api,listener,sender,relay",
            settings=load,
            migrate=bootstrap.migrate,
            build=bootstrap.role,
        )
    )
