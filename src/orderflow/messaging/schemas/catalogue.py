"""
The committed schemas: the versions of each event type, and the types that belong on each topic.

One directory per event type holds `<version>.avsc`, versions 1, 2, 3 … without gaps; each file is
complete by itself. A subject is `<topic>-<full name>` (Confluent's TopicRecordNameStrategy), so one
topic may carry several types.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from orderflow.messaging.errors import NEUTRAL, ConfigurationError, OperatorCommands


class CommittedSchema(msgspec.Struct, frozen=True, kw_only=True):
    """One version of one event type; `text` is the file as committed, byte for byte."""

    type_name: str
    version: int
    text: str

    @property
    def label(self) -> str:
        """`shop.ParcelShipped version 1`, for messages."""
        return f"{self.type_name} version {self.version}"


class SchemaCatalogue:
    """
    All committed schemas, and the types of each topic. Immutable; holds no connection.

    `commands` are named in the messages of whoever registers these schemas or looks them up.
    """

    def __init__(
        self,
        schemas: Iterable[CommittedSchema],
        types_by_topic: Mapping[str, tuple[str, ...]],
        commands: OperatorCommands = NEUTRAL,
    ) -> None:
        self._versions: dict[str, tuple[CommittedSchema, ...]] = {}
        for schema in sorted(schemas, key=lambda s: (s.type_name, s.version)):
            self._versions[schema.type_name] = (*self._versions.get(schema.type_name, ()), schema)

        self._types_by_topic = dict(types_by_topic)
        self.commands = commands
        self._refuse_gaps()

    @classmethod
    def read(
        cls,
        directory: Path,
        types_by_topic: Mapping[str, tuple[str, ...]],
        commands: OperatorCommands = NEUTRAL,
    ) -> SchemaCatalogue:
        """The schemas under `directory`. Raises ConfigurationError naming a misplaced file."""
        schemas = [_read(path) for path in sorted(directory.glob("*/*.avsc"))]
        return cls(schemas, types_by_topic, commands)

    @property
    def types(self) -> tuple[str, ...]:
        """Full names of all event types."""
        return tuple(self._versions)

    @property
    def topics(self) -> tuple[str, ...]:
        """Every topic that carries events."""
        return tuple(self._types_by_topic)

    def versions(self, type_name: str) -> tuple[CommittedSchema, ...]:
        """All versions of a type, oldest first. Raises KeyError if that type is not committed."""
        return self._versions[type_name]

    def types_on(self, topic: str) -> tuple[str, ...]:
        """The types that belong on `topic`: any other is poison there."""
        return self._types_by_topic.get(topic, ())

    def subjects(self) -> list[tuple[str, str]]:
        """Every (subject, type name), in the order of the topic table."""
        return [
            (subject(topic, name), name)
            for topic, names in self._types_by_topic.items()
            for name in names
        ]

    def _refuse_gaps(self) -> None:
        for name, versions in self._versions.items():
            if [schema.version for schema in versions] != list(range(1, len(versions) + 1)):
                raise ConfigurationError(f"{name}: versions must be 1, 2, 3 … without gaps")

        missing = {
            name for names in self._types_by_topic.values() for name in names
        } - self._versions.keys()
        if missing:
            raise ConfigurationError(f"no schema is committed for {', '.join(sorted(missing))}")


def subject(topic: str, type_name: str) -> str:
    """The registry subject of one event type on one topic."""
    return f"{topic}-{type_name}"


def _read(path: Path) -> CommittedSchema:
    text = path.read_text(encoding="utf-8")
    try:
        document = msgspec.json.decode(text, type=_SchemaName)
    except msgspec.MsgspecError as error:
        raise ConfigurationError(f"{path}: not a record schema: {error}") from error

    if document.name != path.parent.name or not path.stem.isdecimal():
        raise ConfigurationError(
            f"{path}: a schema of {document.name} belongs in {document.name}/<version>.avsc"
        )
    return CommittedSchema(
        type_name=f"{document.namespace}.{document.name}", version=int(path.stem), text=text
    )


class _SchemaName(msgspec.Struct):
    name: str
    namespace: str
