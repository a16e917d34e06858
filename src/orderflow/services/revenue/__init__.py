"""
The revenue service: what customers brought in, and what came in each hour, as payments flow.

Owns: net revenue (captured − refunded) by customer and by hour, each by currency. It has no
database: its state is in stores beside it, restored from their changelogs.
Consumes: PaymentSucceeded, PaymentRefunded from `payments`; re-keyed, through the topics
`revenue-service-…-repartition`.
Publishes: RevenueByCustomer to `revenue-by-customer` (key: customerId), RevenueByHour to
`revenue-by-hour` (key: currency and hour). Both are compacted: the last record of a key is the
present.
Guarantee: each capture counts once, by its paymentId, and each refund once, by its refundId, for
good: however often, under whatever event id, and from whichever topic it comes.
"""
