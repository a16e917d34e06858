"""
How the local stack is held: child processes, readiness, restarts, logs.

Rooms: `component` (a process as data), `managed` (a component's state, and its row in `orderflow
status`), `child` and `launch` (a running process), `supervisor` (the daemon), `control` (its
socket), `logs`, `wake`.
"""
