"""`python -m orderflow.services.lake`: a process of the lake exporter."""

import sys

from orderflow.messaging.process.service import run

if __name__ == "__main__":
    try:
        from orderflow.services.lake.bootstrap import SERVICE
    except ModuleNotFoundError as missing:
        if (missing.name or "").startswith("orderflow"):
            raise
        sys.stderr.write(
            f"lake: the package {missing.name} is not installed: `orderflow up --with connect` and "
            "`setup/run lake` install what the lake needs\n"
        )
        sys.exit(2)
    sys.exit(run(SERVICE))
