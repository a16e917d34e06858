"""`python -m orderflow.services.fulfilment`: a process of the fulfilment service."""

import sys

from orderflow.messaging.process.service import run
from orderflow.services.fulfilment.bootstrap import SERVICE

if __name__ == "__main__":
    sys.exit(run(SERVICE))
