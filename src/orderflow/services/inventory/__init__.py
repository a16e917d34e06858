"""
The inventory service: keeps the stock of each product, and reserves it for paid orders.

Owns: stock, its movements and reservations, in database `inventory`.
Consumes: PaymentSucceeded and PaymentRefunded from `payments`, OrderShipped from `orders`.
Publishes: StockReserved, StockRejected, StockReleased to `inventory`. Key: orderId.
Guarantee: an order's lines are reserved all or none, released at most once and shipped at most
once; no more is reserved than there is. Stock, reservation and events commit together or not at
all.
"""
