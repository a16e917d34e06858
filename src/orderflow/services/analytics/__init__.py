"""
The analytics service: counts how many orders are in each status, go on to the next, and how long
they stay.

Owns: the status changes of every order, in database `analytics`.
Consumes: OrderEvent from `order-events`, as group `analytics-service`.
Publishes: nothing.
Guarantee: each status change counts once, at the time in its event. What is shown depends on the
consumed events alone: repeats, replays, late events and another clock change nothing in it.
"""
