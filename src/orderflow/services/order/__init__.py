"""
The order service: places orders and moves them through their life cycle.

Owns: orders, their history, prices, idempotency keys (database `order`).
Consumes: `payments` and `inventory`, as group `order-service`.
Publishes: OrderCreated, PaymentRequested, OrderCancelled and OrderShipped to `orders`; OrderEvent
to `order-events`, one for each status change. Key: orderId.
Guarantee: order, history and events commit together or not at all; each event is a record exactly
once. Facts in any order lead to the same end, repeats change nothing. An order that is not paid in
time is cancelled, and never while a fact about it is unread in the log.

Rooms: `http` (the API), `commands` (what a request does), `handlers` (what a fact does),
`operator_acts`, `sweeper` (deadlines); `changes` writes what they decide, `change_events` makes its
events; `rules`, `model` and `deadlines` decide; `repository`, `place_batch`, `queries` and
`idempotency` are the SQL.
"""
