"""
The fulfilment service: what has to leave the house for an order, and how far it is.

Owns: shipments (database `fulfilment`).
Consumes: OrderEvent from `order-events`, as group `order-processor`.
Publishes: nothing; it follows.
Guarantee: one shipment for each order that was paid: prepared, tracked, closed, or called off. An event older than what
is recorded moves nothing, nor does a repeat.
"""
