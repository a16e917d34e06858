"""Examples of the operations API's bodies: as a console would see them."""

from __future__ import annotations

from orderflow.messaging.documents.openapi import Schema

AT = "2026-01-31T09:05:00.123000Z"
BEFORE = "2026-01-31T08:20:00Z"
ORDER_ID = "019ac5d2-6c4e-7b1a-9d3f-2f6d0c8e4a10"

_PACE: Schema = {
    "records": 1200,
    "seconds": 4.25,
    "drainPerSecond": 310.5,
    "secondsToZero": 3.865,
}

LAG: Schema = {
    "at": AT,
    "brokers": 1,
    "items": [
        {
            "group": "payment-service",
            **_PACE,
            "topics": [
                {
                    "topic": "orders",
                    **_PACE,
                    "partitions": [
                        {
                            "partition": 0,
                            "committed": 5231,
                            "records": 1200,
                            "waiting": 1,
                            "seconds": 4.25,
                            "beyond": 0,
                        }
                    ],
                }
            ],
        }
    ],
    "nextCursor": None,
    "openTransactions": [{"topic": "payments", "partition": 0, "seconds": 0.35, "hanging": False}],
    "troubles": [],
}

GROUPS: Schema = {
    "at": AT,
    "items": [
        {
            "group": "payment-service",
            "state": "Stable",
            "members": [
                {
                    "clientId": "rdkafka",
                    "host": "127.0.0.1",
                    "partitions": [{"topic": "orders", "partition": 0}],
                }
            ],
            **_PACE,
        }
    ],
    "nextCursor": None,
}

STUCK: Schema = {
    "items": [
        {
            "orderId": ORDER_ID,
            "customerId": "customer-123",
            "status": "PAID",
            "amountMinor": 12_990,
            "currency": "EUR",
            "createdAt": BEFORE,
            "updatedAt": BEFORE,
            "waiting": {
                "for": "STOCK",
                "since": BEFORE,
                "deadline": "2026-01-31T08:35:00Z",
                "overdue": True,
                "owner": "inventory",
                "nextAction": "have payment and inventory announce it again: "
                f"orderflow stuck retry {ORDER_ID}; give up: orderflow stuck cancel {ORDER_ID}",
            },
        }
    ],
    "nextCursor": None,
}
