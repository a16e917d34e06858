"""
The analytics service: how many orders are where, how many go on to the next step, and how long they stay.

Owns: the status changes of every order, as the feed told them (database `analytics`).
Consumes: OrderEvent from `order-events`, as group `analytics-service`.
Publishes: nothing; it follows.
Guarantee: each status change counts once, at the time that its event says. What is shown is a function of the feed
alone: repeats and replays, late events and another clock change nothing in it.
"""
