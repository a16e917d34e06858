"""
The fulfilment service: keeps one shipment for each paid order, and how far it is.

Owns: shipments, in database `fulfilment`.
Consumes: OrderEvent from `order-events`, StockReserved and StockReleased from `inventory`, as group
`order-processor`.
Publishes: nothing.
Guarantee: one shipment for each order that was paid: prepared once its stock is reserved, with its
lines; tracked, closed, or called off.
Repeated events, and events older than what is recorded, change nothing.
"""
