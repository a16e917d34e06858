"""
The columns of the lake's files, in one place: name by name as in the warehouse, money in minor
units, time in UTC.

A new field of an event is a new column here, at the end. Objects from before do not have it: tools
read them together by name (DuckDB: `union_by_name = true`), and get null. A column is never renamed
and never gets another type.
"""

from __future__ import annotations

from typing import Literal

Kind = Literal["text", "name", "int32", "int64", "time", "lines"]
"""`name`: a text of which there are few. `lines`: SKU, quantity and unit price in minor units."""

OF_RECORD: dict[str, Kind] = {
    "event_id": "text",
    "event_type": "name",
    "topic": "name",
    "partition": "int32",
    "offset": "int64",
}
OF_EVENT: dict[str, Kind] = {
    "order_id": "text",
    "customer_id": "text",
    "attempt": "int32",
    "payment_id": "text",
    "refund_id": "text",
    "amount_minor": "int64",
    "currency": "name",
    "payment_method": "name",
    "reason": "name",
    "message": "text",
    "provider_reference": "text",
    "lines": "lines",
    "occurred_at": "time",
}
"""Fields of PaymentSucceeded, PaymentFailed and PaymentRefunded; null where a type has none."""
