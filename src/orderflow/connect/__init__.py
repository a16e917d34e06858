"""
Kafka Connect, where orders go on from here: its connectors' configuration, the warehouse that the
sink fills, and a client of its REST interface.

Stands on the kit and the contracts. `connectors` says what runs; `deploy` makes it so.
"""
