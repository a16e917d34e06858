"""What `serve` does to its whole process, so in a process of its own."""

from __future__ import annotations

import subprocess
import sys

from orderflow.messaging.process.garbage import ALLOCATIONS

SERVED = """
import gc, os, signal
from orderflow.messaging.http.server import Role, serve

def start():
    print(gc.get_threshold()[0], gc.get_freeze_count() > 10_000)
    os.kill(os.getpid(), signal.SIGTERM)

serve(lambda fail: Role(name="parcels", host="127.0.0.1", port=0, start=start))
"""


def test_a_server_looks_for_garbage_rarely_and_never_at_what_it_began_with() -> None:
    """Cycles are few in it, and a batch's records are alive at once: every look goes over them."""
    served = subprocess.run(
        [sys.executable, "-c", SERVED], check=True, capture_output=True, text=True, timeout=60
    )
    assert f"{ALLOCATIONS} True" in served.stdout.splitlines()
