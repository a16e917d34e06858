"""`python -m orderflow.services.analytics --roles api,listener`: the analytics service's processes."""

from __future__ import annotations

import sys

from orderflow.messaging.process.main import main
from orderflow.services.analytics import bootstrap
from orderflow.services.analytics.config import load

if __name__ == "__main__":
    sys.exit(
        main(
            "analytics",
            roles=("api", "listener"),
            default="api,listener",
            settings=load,
            migrate=bootstrap.migrate,
            build=bootstrap.role,
        )
    )
