"""
The inventory service: what is on the shelf, and for whom it is kept.

Owns: stock, reservations (database `inventory`).
Consumes: PaymentSucceeded and PaymentRefunded from `payments`, OrderShipped from `orders`.
Publishes: StockReserved, StockRejected, StockReleased to `inventory`. Key: orderId.
Guarantee: an order's lines are reserved all or none, released once, shipped once, never more than there is; stock,
reservation and events commit together or not at all.
"""
