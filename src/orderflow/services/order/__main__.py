"""
`python -m orderflow.services.order --roles api,relay`: the order service's processes.

Exit codes: 0 stopped on request; 2 a setting is wrong; 3 refused, because going on could lose or repeat; 1 anything
else.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Annotated

import typer

from orderflow.messaging.errors import ConfigurationError, Fenced, OrderflowError, Refused
from orderflow.messaging.serving import Served, serve
from orderflow.messaging.telemetry import configure, logger
from orderflow.services.order import bootstrap
from orderflow.services.order.config import Settings, load

ROLES = ("migrate", "api", "relay")

log = logger("order")


def run(roles: Annotated[str, typer.Option(help="Comma-separated: migrate, api, relay.")] = "api,relay") -> None:
    """Run roles of the order service until SIGTERM. `migrate` ends by itself, before the others start."""
    asked = roles.split(",")
    if unknown := set(asked) - set(ROLES):
        raise ConfigurationError(f"--roles: unknown {', '.join(sorted(unknown))}; known are {', '.join(ROLES)}")
    settings = load()
    configure("order", settings.telemetry)
    if "migrate" in asked:
        log.info("migrated", applied=bootstrap.migrate(settings))
    if "api" in asked or "relay" in asked:
        serve(lambda fail: _parts(settings, asked, fail))


def _parts(settings: Settings, roles: Sequence[str], fail: Callable[[BaseException], None]) -> list[Served]:
    parts = []
    if "relay" in roles:
        parts.append(bootstrap.relay(settings, fail))
    if "api" in roles:
        parts.append(bootstrap.api(settings))
    return parts


def main() -> int:
    try:
        typer.run(run)
    except SystemExit as done:
        return int(done.code or 0)
    except ConfigurationError as error:
        return _end(error, 2)
    except (Refused, Fenced) as error:
        return _end(error, 3)
    except OrderflowError as error:
        return _end(error, 1)
    return 0


def _end(error: OrderflowError, code: int) -> int:
    sys.stderr.write(f"order: {error}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
