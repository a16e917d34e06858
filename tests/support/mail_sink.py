"""
The mail sink as a process, which a test may kill and start again, and the mails that it accepted.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from orderflow.messaging.testing.eventually import eventually
from orderflow.stack.ports import HOST, free_ports


@dataclass
class MailSink:
    directory: Path
    smtp_port: int
    port: int
    client: httpx2.Client
    popen: subprocess.Popen[bytes] | None = field(default=None)

    @property
    def environment(self) -> dict[str, str]:
        """Settings by which the notification service finds it."""
        return {
            "ORDERFLOW_NOTIFICATION__SMTP__HOST": HOST,
            "ORDERFLOW_NOTIFICATION__SMTP__PORT": str(self.smtp_port),
        }

    def start(self) -> None:
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith("ORDERFLOW_")
        }
        environment = {
            **inherited,
            "ORDERFLOW_MAIL__PORT": str(self.port),
            "ORDERFLOW_MAIL__SMTP_PORT": str(self.smtp_port),
            "ORDERFLOW_MAIL__DIRECTORY": str(self.directory),
        }

        with (self.directory.parent / "mail.log").open("ab") as log:
            self.popen = subprocess.Popen(
                [sys.executable, "-m", "orderflow.neighbours.mail"], env=environment, stderr=log
            )
        eventually(self._ready, within_s=20, why="the mail sink is ready")

    def kill(self) -> None:
        if self.popen is not None:
            self.popen.kill()
            self.popen.wait(10)
            self.popen = None

    def faults(self, **faults: Any) -> None:
        """Set faults by their names on the wire; one that is left out is 0, or nobody."""
        answer = self.client.put("/faults", json=faults)
        assert answer.status_code == 200, answer.text

    def messages(self, **query: str) -> list[dict[str, Any]]:
        """The accepted mails in that order: all, or those of one `orderId` or `customerId`."""
        messages: list[dict[str, Any]] = []
        cursor: str | None = ""
        while cursor is not None:
            page = self.client.get("/messages", params={**query, "cursor": cursor}).json()
            messages += page["items"]
            cursor = page["nextCursor"]
        return messages

    def totals(self) -> tuple[int, int]:
        """How many mails were accepted, and how many were offered."""
        totals = self.client.get("/totals").json()
        return totals["accepted"], totals["offered"]

    def _ready(self) -> bool:
        assert self.popen is not None
        assert self.popen.poll() is None, (self.directory.parent / "mail.log").read_text()
        try:
            return self.client.get("/readyz").status_code == 200
        except httpx2.TransportError:
            return False


@contextmanager
def mail_sink_running(home: Path) -> Iterator[MailSink]:
    smtp_port, port = free_ports(2, start=os.getpid() * 13 + 9_000)
    with httpx2.Client(base_url=f"http://{HOST}:{port}", timeout=20, trust_env=False) as client:
        mail = MailSink(directory=home / "mail", smtp_port=smtp_port, port=port, client=client)
        try:
            mail.start()
            yield mail
        finally:
            mail.kill()
