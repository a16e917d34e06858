"""
The local stack: real Kafka, PostgreSQL and registry, and our services, as child processes.

Rooms: `settings`, `addresses`, `ports`, `preflight` (what the machine must offer), `blueprint` (all
components), `local_stack` (the stack inside one process), `temporary_stack` (one for a run of a
tool), `training` (so that servers start quickly), `supervisor` (the daemon that holds a stack),
`lifecycle` (`up`, `down` and the rest, over the supervisor), `demo_data`, `parts`, `supervise`.
"""
