"""
The order service: what was ordered, and how far it is.

Owns: orders, their history, prices, idempotency keys (database `order`).
Consumes: `payments` and `inventory`, as group `order-service`.
Publishes: OrderCreated, PaymentRequested, OrderCancelled and OrderShipped to `orders`; OrderEvent to `order-events`,
one for each status change. Key: orderId.
Guarantee: order, history and events commit together or not at all; each event is a record exactly once. Facts in any
order lead to the same end, repeats change nothing. An order that is not paid for in time is cancelled, and never before
a fact that is in the log unread has had its say.
"""
