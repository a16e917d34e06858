"""The place of a dead letter, which is its name for people, commands and dispositions."""

from __future__ import annotations

import re

import msgspec

from orderflow.messaging.errors import ConfigurationError
from orderflow.messaging.kafka.place import Place

_TEXT = re.compile(r"(?P<topic>[A-Za-z0-9._-]{1,249})/(?P<partition>\d{1,9})/(?P<offset>\d{1,18})")


class LetterId(msgspec.Struct, frozen=True, order=True):
    """
    Where a dead letter is: dead-letter topic, partition, offset. Its text, `<topic>/<p>/<offset>`,
    is the key of its disposition.
    """

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"

    @property
    def place(self) -> Place:
        return self.topic, self.partition

    @staticmethod
    def parse(text: str) -> LetterId:
        """The inverse of `str()`. Raises ConfigurationError, which shows the form."""
        letter_id = letter_id_of(text.strip().encode(errors="replace"))
        if letter_id is None:
            raise ConfigurationError(
                f"{text[:200]!r} names no dead letter: write <dead-letter topic>/<partition>/"
                "<offset>, for example orders.payment-service.dlt/0/12"
            )
        return letter_id


def letter_id_of(key: bytes | None) -> LetterId | None:
    """The letter that a disposition's key names; None if it names none."""
    match = _TEXT.fullmatch((key or b"").decode("ascii", "replace"))
    if match is None:
        return None
    return LetterId(match["topic"], int(match["partition"]), int(match["offset"]))
