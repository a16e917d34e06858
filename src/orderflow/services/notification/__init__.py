"""
The notification service: mails customers what happened to their orders, each thing once, in order.

Owns: notifications and each customer's sequence, in database `notification`.
Consumes: OrderCreated from `orders`; PaymentSucceeded, PaymentFailed, PaymentRefunded from
`payments`; StockRejected from `inventory`; SHIPPED, DELIVERED, CANCELLED from `order-events`.
Publishes: NotificationSent, NotificationFailed to `notifications`, by its sender. Key: customerId.
Guarantee: one notification for each causing event, sent to each customer in the order in which they
were stored. Its outcome, the customer's next sequence number and the event commit together. SMTP
delivers at least once: a mail that is repeated after a crash has the same Message-ID, by which the
mailbox drops it.
"""
