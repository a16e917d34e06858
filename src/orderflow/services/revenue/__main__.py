"""`python -m orderflow.services.revenue`: a process of the revenue service."""

import sys

from orderflow.messaging.process.service import run
from orderflow.services.revenue.bootstrap import SERVICE

if __name__ == "__main__":
    sys.exit(run(SERVICE))
