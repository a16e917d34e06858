"""
`orderflow demo`: places a few orders and shows them arrive.

Rooms: `command` (the demo), `stories` (the orders, and how each should end), `goods` (for them),
`services` (over HTTP), `arrivals` (events in order), `console_consumer` (Kafka's own, a witness),
`view`.
"""
