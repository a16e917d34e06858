"""
A schema registry in memory, for tests that open no socket; the real one's conformance test runs on
it too.
"""

from __future__ import annotations

import json

from orderflow.messaging.errors import Incompatible, Unavailable
from orderflow.messaging.schemas.catalogue import CommittedSchema, SchemaCatalogue
from orderflow.messaging.schemas.compatibility import breaks_between
from orderflow.messaging.schemas.registry import RESOURCE


class InMemoryRegistry:
    """
    Ids count from 1; the same schema has the same id under every subject; every subject is
    FULL_TRANSITIVE.
    """

    def __init__(self) -> None:
        self.available = True
        self._texts: list[str] = []
        self._subjects: dict[str, list[str]] = {}

    @classmethod
    def holding(cls, catalogue: SchemaCatalogue) -> InMemoryRegistry:
        """With everything registered that is committed."""
        registry = cls()
        for subject, type_name in catalogue.subjects():
            for schema in catalogue.versions(type_name):
                registry.register(subject, schema.text)
        return registry

    def schema_text(self, schema_id: int) -> str | None:
        self._answer()
        return self._texts[schema_id - 1] if 1 <= schema_id <= len(self._texts) else None

    def id_of(self, subject: str, text: str) -> int | None:
        self._answer()
        canonical = _canonical(text)
        return (
            self._texts.index(canonical) + 1
            if canonical in self._subjects.get(subject, ())
            else None
        )

    def register(self, subject: str, text: str) -> int:
        self._answer()
        canonical = _canonical(text)
        versions = self._subjects.setdefault(subject, [])
        if canonical not in versions:
            _refuse_incompatible(subject, versions, canonical)
            versions.append(canonical)
        if canonical not in self._texts:
            self._texts.append(canonical)
        return self._texts.index(canonical) + 1

    def _answer(self) -> None:
        if not self.available:
            raise Unavailable("the registry in memory is switched off", resource=RESOURCE)


def _canonical(text: str) -> str:
    return json.dumps(json.loads(text), separators=(",", ":"))


def _refuse_incompatible(subject: str, versions: list[str], text: str) -> None:
    new = CommittedSchema(type_name=subject, version=len(versions) + 1, text=text)
    for number, present in enumerate(versions, start=1):
        old = CommittedSchema(type_name=subject, version=number, text=present)
        breaks = [*breaks_between(new, old), *breaks_between(old, new)]
        if breaks:
            raise Incompatible("; ".join(map(str, breaks)))
