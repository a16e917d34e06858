"""How the local stack is held: child processes, readiness, restarts, logs."""
