"""
The deploy step of schemas: registers every committed version under every subject of its type.
"""

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
    """What the registry has and lacks. `levels`: each subject's compatibility, None if unset."""

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
    Register what is missing and return what the registry has then. A second call changes nothing.

    Raises Incompatible when the registry refuses a version (409); the versions before it stay
    registered. Raises ConfigurationError when the registry does not keep the compatibility level.
    """
    for subject, type_name in catalogue.subjects():
        for schema in catalogue.versions(type_name):
            if registry.id_of(subject, schema.text) is None:
                try:
                    registry.register(subject, schema.text)
                except Incompatible as refusal:
                    raise Incompatible(
                        f"{schema.label} is refused: {refusal}. {catalogue.commands.check_schemas} "
                        "says which field breaks which reader"
                    ) from refusal

            # Right after the first version, because a subject without versions can't have a level.
            _demand_full_transitive(subject, registry)
    return plan(catalogue, registry)


def _demand_full_transitive(subject: str, registry: Registry) -> None:
    """
    Set the level even if the registry reports it, and read it back.

    For a subject without a level a registry may report its default, which can change. Apicurio 3.3
    does that, and its report can be out of date.
    """
    registry.set_compatibility(FULL_TRANSITIVE, subject)

    # A registry that forgot the level would accept any schema from now on.
    level = registry.compatibility(subject)
    if level != FULL_TRANSITIVE:
        raise ConfigurationError(
            f"{subject} was set to {FULL_TRANSITIVE}, and the registry says {level}"
        )
