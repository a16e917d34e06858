"""`python -m orderflow.services.notification`: a process of the notification service."""

import sys

from orderflow.messaging.process.service import run
from orderflow.services.notification.bootstrap import SERVICE

if __name__ == "__main__":
    sys.exit(run(SERVICE))
