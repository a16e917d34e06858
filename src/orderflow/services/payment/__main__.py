"""`python -m orderflow.services.payment`: a process of the payment service."""

import sys

from orderflow.messaging.process.service import run
from orderflow.services.payment.bootstrap import SERVICE

if __name__ == "__main__":
    sys.exit(run(SERVICE))
