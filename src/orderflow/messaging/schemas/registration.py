"""The deploy step of schemas: every committed version, in order, under every subject that carries its type."""

from __future__ import annotations

import msgspec

from orderflow.messaging.errors import ConfigurationError, Incompatible
from orderflow.messaging.schemas.catalogue import SchemaCatalogue
from orderflow.messaging.schemas.registry import FULL_TRANSITIVE, Registry


class Registration(msgspec.Struct, frozen=True, kw_only=True):
    """One version under one subject; `schema_id` None: not registered yet."""

    subject: str
    type_name: str
    version: int
    schema_id: int | None


class SchemaPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What the registry has and lacks. `levels` is each subject's compatibility level, None if it says none."""

    registrations: tuple[Registration, ...]
    levels: dict[str, str | None]


def plan(catalogue: SchemaCatalogue, registry: Registry) -> SchemaPlan:
    """Compare the committed schemas with the registry; changes nothing."""
    return SchemaPlan(
        registrations=tuple(
            Registration(
                subject=subject,
                type_name=type_name,
                version=schema.version,
                schema_id=registry.id_of(subject, schema.text),
            )
            for subject, type_name in catalogue.subjects()
            for schema in catalogue.versions(type_name)
        ),
        levels={subject: registry.compatibility(subject) for subject, _ in catalogue.subjects()},
    )


def apply(catalogue: SchemaCatalogue, registry: Registry) -> SchemaPlan:
    """
    Register what is missing and return what is there now; again it changes nothing.

    Each subject gets FULL_TRANSITIVE as its own level, right after its first version (a subject without versions can't
    have one), and the level is read back: a registry that forgot it would accept anything. Raises Incompatible when the
    registry refuses a version (409); the versions before it stay registered.
    """
    for subject, type_name in catalogue.subjects():
        for schema in catalogue.versions(type_name):
            if registry.id_of(subject, schema.text) is None:
                try:
                    registry.register(subject, schema.text)
                except Incompatible as refusal:
                    raise Incompatible(
                        f"{schema.label} is refused: {refusal}. `orderflow schemas check` says which field breaks "
                        "which reader"
                    ) from refusal
            _demand_full_transitive(subject, registry)
    return plan(catalogue, registry)


def _demand_full_transitive(subject: str, registry: Registry) -> None:
    """
    Set the level even where it seems to be set: a registry may answer with its default for a subject that has no level
    of its own, and the default can change. (Apicurio 3.3 does, and its answer can be out of date.)
    """
    registry.set_compatibility(FULL_TRANSITIVE, subject)
    level = registry.compatibility(subject)
    if level != FULL_TRANSITIVE:
        raise ConfigurationError(
            f"{subject} was set to {FULL_TRANSITIVE}, and the registry says {level}"
        )
