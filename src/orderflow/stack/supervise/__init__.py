"""
How processes are held: readiness, restarts, logs; nothing here depends on what they are.

Rooms: `component` (a process as data), `managed` (a component's state, and its row in `orderflow
status`), `child` and `launch` (a running process), `control` (the supervisor's socket), `logs`,
`wake`.
"""
