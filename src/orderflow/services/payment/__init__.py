"""
The payment service: who has paid, what was given back, and what the provider knows of it.

Owns: payments, refunds, which orders are closed (database `payment`).
Consumes: OrderCreated, PaymentRequested, OrderCancelled from `orders`.
Publishes: PaymentSucceeded, PaymentFailed, PaymentRefunded to `payments`. Key: orderId.
Guarantee: a payment is captured at most once and refunded at most once, whatever fails between us and the provider; its
outcome is announced exactly once. A time-out is not an outcome: it is asked about until there is one.
"""
