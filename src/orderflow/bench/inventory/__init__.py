"""
`orderflow bench inventory`: `bench`, `report` and the baseline (`naive`).

`flow` measures the way from POST to the last event; its load is `order_poster`.
"""
