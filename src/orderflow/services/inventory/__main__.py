"""`python -m orderflow.services.inventory --roles api,listener,relay`: the inventory service's processes."""

from __future__ import annotations

import sys

from orderflow.messaging.process.main import main
from orderflow.services.inventory import bootstrap
from orderflow.services.inventory.config import load

if __name__ == "__main__":
    sys.exit(
        main(
            "inventory",
            roles=("api", "listener", "relay"),
            default="api,listener,relay",
            settings=load,
            migrate=bootstrap.migrate,
            build=bootstrap.role,
        )
    )
