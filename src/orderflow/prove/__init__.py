"""
`orderflow prove …`: puts a promise to the test on a temporary stack, under load and kills.

Rooms: `ordering` (the proof), `claims` (whose numbers must be on which topic), `checker` (judges a
topic), `progress` (how much is left to do), `workers` (notification workers, how they are
disturbed), `service_views` (what it reads of the services), `report`, `cli`. Load, disturbances
and the harness come from `trials`.
"""
