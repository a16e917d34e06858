"""`python -m orderflow.services.inventory`: a process of the inventory service."""

import sys

from orderflow.messaging.process.service import run
from orderflow.services.inventory.bootstrap import SERVICE

if __name__ == "__main__":
    sys.exit(run(SERVICE))
