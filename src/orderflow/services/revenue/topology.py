"""
How payments become revenue:

    payments → by customer → revenue-by-customer
                  └→ by hour → revenue-by-hour

A change counts once at the first table; what counts there goes on to the second.
"""

from __future__ import annotations

from orderflow.contracts.events import (
    CustomerRevenueChange,
    HourRevenueChange,
    RevenueByCustomer,
    RevenueByHour,
)
from orderflow.contracts.topics import (
    BY_CUSTOMER_REPARTITION,
    BY_HOUR_REPARTITION,
    PAYMENTS,
    REVENUE_BY_CUSTOMER,
    REVENUE_BY_HOUR,
    REVENUE_FACTS,
)
from orderflow.messaging.streams.topology import Table, Topology
from orderflow.services.revenue import model

CUSTOMERS = Table(
    name="revenue-by-customer",
    repartition=BY_CUSTOMER_REPARTITION,
    changelog=REVENUE_BY_CUSTOMER,
    event=CustomerRevenueChange,
    value=RevenueByCustomer,
    fold=model.add_to_customer,
    ranks=model.net_by_currency,
    fact=model.fact,
    facts=REVENUE_FACTS,
    forward=model.by_hour,
    together=model.together,
)
HOURS = Table(
    name="revenue-by-hour",
    repartition=BY_HOUR_REPARTITION,
    changelog=REVENUE_BY_HOUR,
    event=HourRevenueChange,
    value=RevenueByHour,
    fold=model.add_to_hour,
)
TOPOLOGY = Topology(source=PAYMENTS, rekey=model.by_customer, tables=(CUSTOMERS, HOURS))
