"""
Benchmarks: commands that print ratios against a naive baseline measured in the same run, on the same machine.

A figure without its baseline says more about the machine than about us. Rooms: `machine` (where it was measured),
`instance` (a stack of its own), `load` (closed-loop HTTP), `latency` (histogram and open-loop schedule), `post` and its
baseline `naive_post`, `relay` and its baseline `naive_relay` (with `outbox_writer` and `reader`), `payment` and its
baseline `naive_payment` (with `payment_worker` and `records`), `inventory` and its baseline `naive_inventory` (with
`flow`, from POST to the last event).
"""
