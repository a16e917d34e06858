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
                f"`orderflow stuck retry {ORDER_ID}`; give up: `orderflow stuck cancel {ORDER_ID}`",
            },
        }
    ],
    "nextCursor": None,
}

LETTER_ID = "orders.payment-service.dlt/0/12"

LETTER: Schema = {
    "id": LETTER_ID,
    "state": "OPEN",
    "group": "payment-service",
    "topic": "orders",
    "type": "orderflow.OrderCreated",
    "cause": "Poison ← EOFError",
    "message": "the body can't be read as orderflow.OrderCreated: EOFError, at byte 7 of 7",
    "orderId": ORDER_ID,
    "key": ORDER_ID,
    "writtenAt": AT,
    "attempts": 0,
    "replays": 0,
    "size": 1843,
    "disposition": None,
}
_REPLAYED: Schema = {
    "kind": "REPLAYED",
    "by": "ada",
    "reason": "schema is registered again",
    "at": AT,
    "replays": 1,
    "replayedTo": "orders.payment-service.replay",
}
LETTERS: Schema = {
    "items": [LETTER, {**LETTER, "state": "REPLAYED", "disposition": _REPLAYED}],
    "nextCursor": None,
}

LETTER_SUMMARY: Schema = {
    "items": [
        {
            "group": "payment-service",
            "topic": "orders",
            "type": "orderflow.OrderCreated",
            "cause": "Poison ← EOFError",
            "letters": 12,
            "parked": 0,
            "cut": 0,
            "oldest": BEFORE,
            "newest": AT,
            "orders": 11,
            "examplesOfOrders": [ORDER_ID],
            "firstLetter": LETTER_ID,
            "message": "the body can't be read as orderflow.OrderCreated: EOFError, at byte 7 of 7",
        }
    ],
    "leftOut": 0,
    "balance": [
        {
            "group": "payment-service",
            "letters": 14,
            "replayed": 1,
            "discarded": 1,
            "other": 0,
            "open": 12,
            "expired": 0,
            "deletedOffsets": 0,
            "difference": 0,
        }
    ],
}

_SENT: Schema = {
    "id": LETTER_ID,
    "to": "orders.payment-service.replay",
    "held": None,
    "why": "",
    "older": None,
}
_HELD: Schema = {
    "id": "orders.payment-service.dlt/0/14",
    "to": None,
    "held": "OLDER_OPEN",
    "why": "an older letter of its key stays behind",
    "older": "orders.payment-service.dlt/0/13",
}

LETTER_DETAIL: Schema = {
    "letter": LETTER,
    "evidence": {
        "originalTopic": "orders",
        "originalPartition": 2,
        "originalOffset": 5231,
        "originalTimestamp": BEFORE,
        "group": "payment-service",
        "exceptionType": "orderflow.messaging.errors.Poison",
        "causeType": "builtins.EOFError",
        "message": LETTER["message"],
        "stackTrace": "Traceback (most recent call last): …",
        "attempts": 0,
        "firstFailure": AT,
        "lastFailure": AT,
        "task": None,
        "stage": None,
        "stageClass": None,
        "replays": 0,
        "replayTopic": None,
        "replayPartition": None,
        "replayOffset": None,
        "cut": [],
        "originalSize": None,
        "originalSha256": None,
        "eventId": "019ac5d2-6c4e-7b1a-9d3f-2f6d0c8e4a11",
        "eventType": "orderflow.OrderCreated",
        "orderId": ORDER_ID,
    },
    "payload": {
        "type": "orderflow.OrderCreated",
        "event": None,
        "problem": LETTER["message"],
        "hex": "00000000074830",
        "size": 7,
    },
    "headers": [{"name": "ce_type", "value": "orderflow.OrderCreated"}],
    "replay": _SENT,
}

REPLAY_REQUEST: Schema = {
    "filter": {"group": "payment-service", "cause": "Poison"},
    "reason": "schema is registered again",
    "dryRun": True,
    "max": 100,
}
DISCARD_REQUEST: Schema = {"ids": [LETTER_ID], "reason": "a test's record, ticket 4711"}

DESK_ANSWER: Schema = {
    "dryRun": True,
    "done": 11,
    "byTopic": {"orders.payment-service.replay": 11},
    "held": {"OLDER_OPEN": 1},
    "beyondMax": 0,
    "stopped": False,
    "left": 0,
    "letters": [_SENT, _HELD],
}

_DIFFERENCE: Schema = {
    "check": "ledger",
    "subject": "order",
    "id": ORDER_ID,
    "expected": "payment: captured 12990 EUR",
    "actual": "the provider's ledger: nothing",
    "command": f"orderflow trace {ORDER_ID}",
}
BOOKS: Schema = {
    "verdict": "DIFFERENT",
    "at": AT,
    "ageS": 12.5,
    "durationS": 1.25,
    "missing": "",
    "isFull": True,
    "orders": 1043,
    "compared": 1043,
    "checks": [
        {
            "check": "ledger",
            "meaning": "payment's rows = the provider's ledger",
            "checked": 1043,
            "differences": 1,
            "inFlight": 0,
            "explained": 0,
        }
    ],
    "differences": [_DIFFERENCE],
    "inFlight": [],
    "explained": [],
    "awaited": [{"who": "inventory-service", "what": "lag 12", "accounts": 3}],
    "repeats": 0,
    "positions": {"orders-0": 5231},
    "copies": [
        {"name": "warehouse", "state": "COMPARED", "why": ""},
        {"name": "lake", "state": "ABSENT", "why": ""},
    ],
    "notes": [],
}
