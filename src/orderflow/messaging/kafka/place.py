"""Where a record is: the one name for a topic's partition."""

from __future__ import annotations

Place = tuple[str, int]
"""Topic and partition."""
