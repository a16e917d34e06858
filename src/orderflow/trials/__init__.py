"""
What measurements (`bench`), proofs (`prove`) and `drills` share: a stack under load, watched from
outside.

Rooms: `machine` (where it ran, CPU time of a process), `harness` (what a stack's processes need to
be reached, alternating turns, medians, tables), `processes` (a process beside the stack),
`latency` (histogram of durations), `open_loop` (requests at moments fixed beforehand),
`order_load` (orders over HTTP, cancelled and delivered), `steady_load` (orders at a steady rate by
clients that insist), `stock_up` (full shelves), `records` (valid events put on a topic),
`arrivals` (which record could be read when), `disturbances` (processes join, leave and are killed).
"""
