"""
The notification service: customers are told what became of their orders, each thing once, and in order.

Owns: deliveries, customers' sequences (database `notification`).
Consumes: OrderCreated from `orders`; PaymentSucceeded, PaymentFailed, PaymentRefunded from `payments`; StockRejected
from `inventory`; SHIPPED, DELIVERED, CANCELLED from `order-events`.
Publishes: NotificationSent, NotificationFailed to `notifications`, by its sender. Key: customerId.
Guarantee: one message for each causing event; each customer's in the order in which they were noted; its outcome,
the customer's next sequence number and the event commit together. SMTP delivers at least once: a repeat after a crash
has the same Message-ID, by which the mailbox drops it.
"""
