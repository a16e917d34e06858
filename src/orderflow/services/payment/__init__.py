"""
The payment service: charges orders, refunds cancelled ones, and keeps every payment on record.

Owns: payments, refunds and the list of closed (cancelled) orders, in database `payment`.
Consumes: OrderCreated, PaymentRequested, OrderCancelled from `orders`.
Publishes: PaymentSucceeded, PaymentFailed, PaymentRefunded to `payments`. Key: orderId.
Guarantee: a payment is captured at most once and refunded at most once, whatever fails between
this service and the provider, and its outcome is announced exactly once. A time-out is not an
outcome: the provider is queried until it gives one.
"""
