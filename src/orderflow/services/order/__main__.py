"""`python -m orderflow.services.order`: a process of the order service."""

import sys

from orderflow.messaging.process.service import run
from orderflow.services.order.bootstrap import SERVICE

if __name__ == "__main__":
    sys.exit(run(SERVICE))
