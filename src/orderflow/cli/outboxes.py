"""What waits in each outbox to be published, as `orderflow status` shows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import msgspec
from rich.filesize import decimal
from rich.table import Table

from orderflow.contracts.roster import ROSTER, Row
from orderflow.messaging.http.client import BoundedClient
from orderflow.messaging.telemetry import read_samples
from orderflow.stack.addresses import api_url
from orderflow.stack.settings import StackSettings
from orderflow.stack.supervise.managed import ProcessRow, State

ASK_WITHIN_S = 2.0
LATE_S = 10.0
"""A row that has waited so long is not just on its way."""


class Outbox(msgspec.Struct, frozen=True, kw_only=True):
    """
    One service's outbox; the fields are public and stay. None: not known, for the `reason`.

    `relay` and `api` are processes: who publishes the rows, and who has measured them, some seconds
    ago.
    """

    service: str
    relay: str
    api: str
    pending: int | None = None
    oldest_s: float | None = None
    slot_active: bool | None = None
    slot_lag_bytes: int | None = None
    held: int | None = None
    reason: str = ""

    @property
    def sentence(self) -> str:
        """What is wrong with it, and with whom to begin; empty if nothing is."""
        if self.pending is None:
            return f"{self.service}: {self.reason}"
        if self.held:
            return (
                f"{self.service}: {self.held:,} row{'s'[: self.held != 1]}"
                f" {'are' if self.held != 1 else 'is'} held, which a topic refused:"
                f" `orderflow relay held list {self.service}`"
            )

        is_late = (self.oldest_s or 0) >= LATE_S or self.slot_active is False
        if not self.pending or not is_late:
            return ""
        rows = f"{self.pending:,} row{'s'[: self.pending != 1]} wait{'s'[: self.pending == 1]}"
        return (
            f"{self.service}: {rows} to be published, the oldest for {self.oldest_s:,.0f} s:"
            f" is {self.relay} running?"
        )


def outboxes(settings: StackSettings, processes: Sequence[ProcessRow]) -> list[Outbox]:
    """
    The outbox of each service with a relay that belongs to the instance, asked of the APIs.

    Those are asked all at once, each for 2 s at most: an API is not the relay, and answers while
    the relay stands.
    """
    running = {row.name: row.state == State.RUNNING for row in processes}
    relayed = [member for member in ROSTER if "relay" in member.roles]
    members = [member for member in relayed if _process(member, "api") in running]
    if not members:
        return []
    with (
        BoundedClient(within_s=ASK_WITHIN_S, timeout=ASK_WITHIN_S, trust_env=False) as client,
        ThreadPoolExecutor(len(members)) as asking,
    ):
        return [
            *asking.map(lambda member: _outbox(client, settings, member, running=running), members)
        ]


def outbox_table(known: Sequence[Outbox]) -> Table:
    """Within 80 columns."""
    table = Table("outbox", box=None, pad_edge=False)
    for title in ("pending", "oldest", "held", "slot lag"):
        table.add_column(title, justify="right")
    table.add_column("relay", no_wrap=True)

    for outbox in known:
        table.add_row(
            outbox.service,
            _shown(outbox.pending),
            _shown(outbox.oldest_s, " s"),
            _shown(outbox.held),
            "–" if outbox.slot_lag_bytes is None else decimal(outbox.slot_lag_bytes),
            _relay(outbox),
        )
    return table


def _outbox(
    client: httpx2.Client, settings: StackSettings, member: Row, *, running: Mapping[str, bool]
) -> Outbox:
    outbox = Outbox(
        service=member.name,
        relay=_publisher(settings, member),
        api=_process(member, "api"),
    )
    if not running[outbox.api]:
        return _unknown(outbox, f"{outbox.api}, which measures its outbox, does not run")

    try:
        answer = client.get(f"{api_url(settings, member.name)}/metrics").raise_for_status()
        samples = read_samples(answer.text)
    except (httpx2.HTTPError, ValueError):
        return _unknown(outbox, f"{outbox.api}, which measures its outbox, does not answer")
    return with_samples(outbox, samples)


def with_samples(outbox: Outbox, samples: Mapping[tuple[str, Any], float]) -> Outbox:
    """`outbox` with what its API exports of it."""
    labels = frozenset({("service", outbox.service)})

    def sample(name: str) -> float | None:
        return samples.get((f"orderflow_outbox_{name}", labels))

    rows, oldest_s = sample("pending_rows"), sample("pending_oldest_seconds")
    active, lag = sample("slot_active"), sample("slot_lag_bytes")
    held = sample("held_rows")
    if rows is None:
        return _unknown(outbox, f"{outbox.api} could not measure its outbox: see its log")
    return msgspec.structs.replace(
        outbox,
        pending=int(rows),
        oldest_s=oldest_s,
        slot_active=None if active is None else bool(active),
        slot_lag_bytes=None if lag is None else int(lag),
        held=None if held is None else int(held),
    )


def _unknown(outbox: Outbox, reason: str) -> Outbox:
    return msgspec.structs.replace(outbox, reason=reason)


def _publisher(settings: StackSettings, member: Row) -> str:
    """The process that reads the relay's slot: Connect, where Debezium does."""
    by_debezium = member.name == "order" and settings.publisher == "debezium"
    return "connect" if by_debezium else _process(member, "relay")


def _process(member: Row, role: str) -> str:
    """The process of the local stack that runs this role of a service."""
    return next(process.name for process in member.runs if role in process.roles)


def _relay(outbox: Outbox) -> str:
    if outbox.slot_active is None:
        return f"{outbox.relay}: not known"
    return f"{outbox.relay}: {'reads' if outbox.slot_active else 'away'}"


def _shown(value: float | None, unit: str = "") -> str:
    return "–" if value is None else f"{value:,.0f}{unit}"
