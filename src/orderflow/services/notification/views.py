"""What the notification API answers."""

from __future__ import annotations

import msgspec

from orderflow.services.notification.repository import Known

LIMIT = 100
LIMIT_MAX = 500


class NotificationPage(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """In the order in which they were noted."""

    items: tuple[Known, ...]
    next_cursor: str | None
