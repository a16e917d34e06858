"""`python -m orderflow.services.operations`: a process of the operations service."""

import sys

from orderflow.messaging.process.service import run
from orderflow.services.operations.bootstrap import SERVICE

if __name__ == "__main__":
    sys.exit(run(SERVICE))
