"""`python -m orderflow.services.payment --roles api,listener --slot 0`: the payment service's processes."""

import sys

from orderflow.messaging.process.main import main
from orderflow.services.payment.bootstrap import build, migrate
from orderflow.services.payment.config import load

if __name__ == "__main__":
    sys.exit(
        main(
            "payment",
            roles=("api", "listener"),
            default="api,listener",
            settings=load,
            migrate=migrate,
            build=build,
        )
    )
