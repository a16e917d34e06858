"""
`python -m orderflow.neighbours.psp`: the simulated provider.

Exit codes: 0 stopped on request, 2 a setting is wrong.
"""

from __future__ import annotations

import random
import sys

from orderflow.messaging.errors import ConfigurationError
from orderflow.messaging.http.server import Role, serve
from orderflow.messaging.http.spans import ServerSpans
from orderflow.messaging.telemetry import configure
from orderflow.messaging.telemetry.traces import configure_traces
from orderflow.neighbours.psp.admission import Admission
from orderflow.neighbours.psp.api import build_api
from orderflow.neighbours.psp.config import PspSettings, load
from orderflow.neighbours.psp.faults import FaultPlan
from orderflow.neighbours.psp.provider import Provider
from orderflow.neighbours.psp.webhooks import Poster, WebhookSender


def build(settings: PspSettings) -> Role:
    plan = FaultPlan(chance=random.Random())  # noqa: S311 - faults need no secrecy
    api_key = settings.api_key
    provider = Provider(
        settings.directory,
        key_window_s=settings.key_window_s,
        plan=plan,
        admission=Admission(
            api_key=None if api_key is None else api_key.get_secret_value(),
            requests_per_s=settings.requests_per_s,
        ),
        pending_s=settings.pending_s,
        webhooks=webhook_sender(settings, plan),
        announces=settings.announces,
    )

    return Role(
        name="psp",
        host=settings.host,
        port=settings.port,
        app=lambda _reasons: ServerSpans(build_api(provider)),
        start=provider.start,
        stopping=provider.stop,
        close=provider.close,
    )


def webhook_sender(settings: PspSettings, plan: FaultPlan) -> WebhookSender | None:
    if settings.webhook_url is None or settings.webhook_secret is None:
        return None
    return WebhookSender(
        settings.directory / "webhooks.jsonl",
        secret=settings.webhook_secret.get_secret_value(),
        post=Poster(settings.webhook_url),
        plan=plan,
    )


def main() -> int:
    try:
        settings = load()
        configure("psp", settings.telemetry)
        configure_traces("psp", settings.telemetry.traces)
        serve(lambda _fail: build(settings.psp))
    except ConfigurationError as error:
        sys.stderr.write(f"psp: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
