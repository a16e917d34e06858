"""
`python -m orderflow.neighbours.psp`: the simulated provider.

Exit codes: 0 stopped on request, 2 a setting is wrong.
"""

from __future__ import annotations

import random
import sys

from orderflow.messaging.errors import ConfigurationError
from orderflow.messaging.http.server import Role, serve
from orderflow.messaging.telemetry import configure
from orderflow.neighbours.psp.api import build_api
from orderflow.neighbours.psp.config import PspSettings, load
from orderflow.neighbours.psp.faults import Faults
from orderflow.neighbours.psp.provider import Provider


def build(settings: PspSettings) -> Role:
    provider = Provider(
        settings.directory,
        key_window_s=settings.key_window_s,
        faults=Faults(),
        chance=random.Random(),  # noqa: S311 - faults need no secrecy
    )

    return Role(
        name="psp",
        host=settings.host,
        port=settings.port,
        app=lambda _reasons: build_api(provider),
        close=provider.close,
    )


def main() -> int:
    try:
        settings = load()
        configure("psp", settings.telemetry)
        serve(lambda _fail: build(settings.psp))
    except ConfigurationError as error:
        sys.stderr.write(f"psp: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
