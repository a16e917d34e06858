"""
The last step before a child process: become its user, tie its life to the supervisor's, take its
turns as batch work, exec.

Runs as `python -I -S launch.py PARENT_PID SIGNAL USER -- program args…` (USER `-`: unchanged). The
kernel sends SIGNAL when the supervisor's thread that started us dies, however it dies, so no child
outlives it (prctl(2), PR_SET_PDEATHSIG). Imports nothing of the project: it runs before every
child, in 20 ms.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import sys
from contextlib import suppress

PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    parent, signal_number, user, separator, *command = arguments
    if separator != "--":
        raise SystemExit("launch: expected PARENT_PID SIGNAL USER -- program args…")
    if user != "-":
        entry = pwd.getpwnam(user)
        os.setgroups([])
        os.setgid(entry.pw_gid)
        os.setuid(entry.pw_uid)

    # After the change of user, which clears the mark. Then look at the parent: had it died before
    # the mark was set, no signal would come.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal_number), 0, 0, 0)
    if os.getppid() != int(parent):
        raise SystemExit("launch: the supervisor is gone")
    _take_turns_as_batch_work()
    os.execvp(command[0], command)  # noqa: S606 - becoming the child is the purpose


def _take_turns_as_batch_work() -> None:
    """
    Who wakes up does not interrupt who works (sched(7), SCHED_BATCH): with more servers than cores
    each does more at a time. Its threads and children inherit that.
    """
    with suppress(OSError):  # A sandbox that forbids it costs speed only.
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


if __name__ == "__main__":
    main(sys.argv[1:])
