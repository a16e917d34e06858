"""The simulated payment provider as a process, which a test may kill and start again."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from orderflow.messaging.testing.eventually import eventually
from orderflow.stack.ports import HOST, free_ports


@dataclass
class Psp:
    """`environment`: its settings; a change takes effect at the next `start`."""

    directory: Path
    port: int
    client: httpx2.Client
    environment: dict[str, str]
    popen: subprocess.Popen[bytes] | None = field(default=None)

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    def start(self) -> None:
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith("ORDERFLOW_")
        }
        environment = {
            **inherited,
            "ORDERFLOW_PSP__PORT": str(self.port),
            "ORDERFLOW_PSP__DIRECTORY": str(self.directory),
            **self.environment,
        }

        with (self.directory.parent / "psp.log").open("ab") as log:
            self.popen = subprocess.Popen(
                [sys.executable, "-m", "orderflow.neighbours.psp"], env=environment, stderr=log
            )
        eventually(
            lambda: self.client.get("/readyz").status_code == 200,
            within_s=20,
            why="the provider is ready",
        )

    def kill(self) -> None:
        if self.popen is not None:
            self.popen.kill()
            self.popen.wait(10)
            self.popen = None

    def faults(self, *rules: dict[str, Any], **rates: float) -> None:
        """Set fault rates and rules by their names on the wire; one that is left out is 0."""
        answer = self.client.put("/faults", json={**rates, "rules": rules})
        assert answer.status_code == 200, answer.text

    def ledger(self) -> dict[str, Any]:
        ledger: dict[str, Any] = self.client.get("/ledger").json()
        return ledger

    def calls(self) -> list[dict[str, Any]]:
        calls: list[dict[str, Any]] = self.client.get("/calls").json()["items"]
        return calls

    def captures(self) -> Counter[str]:
        """How often each reference was captured."""
        charges = self.ledger()["charges"]
        return Counter(charge["reference"] for charge in charges if charge["status"] == "CAPTURED")

    def charge(self, reference: str, *, key: str | None = None, **fields: Any) -> httpx2.Response:
        body = {
            "reference": reference,
            "amountMinor": 1000,
            "currency": "EUR",
            "token": "pm_ok",
            **fields,
        }
        return self.client.post(
            "/charges", json=body, headers={"Idempotency-Key": key or reference}
        )

    def void(self, reference: str, **fields: Any) -> httpx2.Response:
        return self.client.post(f"/charges/{reference}/void", json=fields)

    def refund(self, reference: str, of: str, **fields: Any) -> httpx2.Response:
        body = {
            "reference": reference,
            "chargeReference": of,
            "amountMinor": 1000,
            "currency": "EUR",
            **fields,
        }
        return self.client.post("/refunds", json=body, headers={"Idempotency-Key": reference})


@contextmanager
def psp_running(home: Path, **environment: str) -> Iterator[Psp]:
    (port,) = free_ports(1, start=os.getpid() * 13 + 7_000)
    with httpx2.Client(base_url=f"http://{HOST}:{port}", timeout=20, trust_env=False) as client:
        psp = Psp(directory=home / "psp", port=port, client=client, environment=environment)
        try:
            psp.start()
            yield psp
        finally:
            psp.kill()
