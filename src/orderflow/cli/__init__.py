"""
The `orderflow` command: reaches services over HTTP and as processes.

Rooms: `main` (the table of commands), a module for each command or group of commands, `demo`,
`configuration` (settings of commands that connect to Kafka and the registry), `deployment` (how the
commands of a deployment wait), `records` (records as text).
"""
