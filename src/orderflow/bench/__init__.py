"""
Benchmarks: commands that print ratios against a naive baseline measured in the same run, on the same machine.

A figure without its baseline says more about the machine than about us. Rooms: `report` (what is printed and stored),
`machine` (where it was measured), `latency` (histogram and open-loop schedule), `post`, `relay`.
"""
