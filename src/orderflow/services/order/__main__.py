"""`python -m orderflow.services.order --roles api,relay,listener,sweeper`: the order service's processes."""

from __future__ import annotations

import sys

from orderflow.messaging.process.main import main
from orderflow.services.order import bootstrap
from orderflow.services.order.config import load

if __name__ == "__main__":
    sys.exit(
        main(
            "order",
            roles=("api", "relay", "listener", "sweeper"),
            default="api,relay,listener,sweeper",
            settings=load,
            migrate=bootstrap.migrate,
            build=bootstrap.role,
        )
    )
