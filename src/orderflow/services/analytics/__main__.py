"""`python -m orderflow.services.analytics`: a process of the analytics service."""

import sys

from orderflow.messaging.process.service import run
from orderflow.services.analytics.bootstrap import SERVICE

if __name__ == "__main__":
    sys.exit(run(SERVICE))
