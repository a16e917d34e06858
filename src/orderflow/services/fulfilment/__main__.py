"""`python -m orderflow.services.fulfilment --roles api,listener`: the fulfilment service's processes."""

from __future__ import annotations

import sys

from orderflow.messaging.process.main import main
from orderflow.services.fulfilment import bootstrap
from orderflow.services.fulfilment.config import load

if __name__ == "__main__":
    sys.exit(
        main(
            "fulfilment",
            roles=("api", "listener"),
            default="api,listener",
            settings=load,
            migrate=bootstrap.migrate,
            build=bootstrap.role,
        )
    )
