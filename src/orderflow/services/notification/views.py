"""The JSON bodies of the notification API."""

from __future__ import annotations

import msgspec

from orderflow.services.notification.repository import StoredNotification

LIMIT = 100
LIMIT_MAX = 500


class NotificationPage(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Of an order or a customer: as they are told. Of a state alone: the newest first."""

    items: tuple[StoredNotification, ...]
    next_cursor: str | None
