"""`orderflow schemas plan | apply | check`: the contracts against registry and history."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from orderflow.cli.configuration import tool_settings
from orderflow.cli.deployment import AwayS, patient
from orderflow.cli.output import say, write_json
from orderflow.cli.terminal import Terminal
from orderflow.contracts.events import EVENT_TYPES
from orderflow.contracts.roster import TYPES_BY_TOPIC
from orderflow.contracts.schemas import CATALOGUE, DIRECTORY
from orderflow.messaging.errors import Incompatible
from orderflow.messaging.schemas import registration
from orderflow.messaging.schemas.catalogue import SchemaCatalogue
from orderflow.messaging.schemas.compatibility import breaks, changed_since_committed
from orderflow.messaging.schemas.conformity import mismatches
from orderflow.messaging.schemas.registration import SchemaPlan
from orderflow.messaging.schemas.registry import FULL_TRANSITIVE, Registry
from orderflow.messaging.work.patience import AWAY_S_MAX

app = typer.Typer(
    help="The schemas: check them offline, compare them with the registry, register.",
    no_args_is_help=True,
)

Json = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]


@app.command("plan")
def show_plan(as_json: Json = False, away_s: AwayS = AWAY_S_MAX) -> None:
    """Show which committed versions the registry lacks. Changes nothing."""
    _show(registration.plan(CATALOGUE, _registry(away_s)), as_json=as_json)


@app.command("apply")
def apply(as_json: Json = False, away_s: AwayS = AWAY_S_MAX) -> None:
    """
    Register every committed version, oldest first, with FULL_TRANSITIVE set on its subject and read
    back. A registry that is away or busy is waited for; what is no registry is not.
    """
    _show(registration.apply(CATALOGUE, _registry(away_s)), as_json=as_json)


@app.command("check")
def check(
    as_json: Json = False,
    directory: Annotated[Path, typer.Option("--schemas", help="The schemas to check.")] = DIRECTORY,
) -> None:
    """
    Offline: committed versions are unchanged, every version can read every other, types and schemas
    agree.

    Exit 1, with a line for each complaint that says which field breaks which reader.
    """
    catalogue = SchemaCatalogue.read(directory, TYPES_BY_TOPIC)
    complaints = find_complaints(catalogue, directory)
    if as_json:
        write_json({"ok": not complaints, "complaints": complaints})
        raise typer.Exit(1 if complaints else 0)

    if complaints:
        raise Incompatible("\n".join(complaints))
    versions = sum(len(catalogue.versions(name)) for name in catalogue.types)
    say(f"{len(catalogue.types)} event types, {versions} versions: unchanged, compatible, as typed")


def find_complaints(catalogue: SchemaCatalogue, directory: Path) -> list[str]:
    """A line for each violation; empty when there is none."""
    typed, committed = set(EVENT_TYPES), set(catalogue.types)
    return [
        *(str(change) for change in breaks(catalogue)),
        *changed_since_committed(directory),
        *(f"{name} has a schema and no type" for name in sorted(committed - typed)),
        *(f"{name} has a type and no schema" for name in sorted(typed - committed)),
        *(
            complaint
            for name in sorted(typed & committed)
            for complaint in mismatches(EVENT_TYPES[name], catalogue.versions(name)[-1].text)
        ),
    ]


def _registry(away_s_max: float) -> Registry:
    return Registry(tool_settings("registry", waits=True).registry, patience=patient(away_s_max))


def _show(planned: SchemaPlan, *, as_json: bool) -> None:
    if as_json:
        write_json(planned)
        return
    table = Table("subject", "version", "registry", "compatibility", box=None, pad_edge=False)
    for entry in planned.registrations:
        state = "to be registered" if entry.schema_id is None else f"id {entry.schema_id}"
        level = planned.levels[entry.subject] or f"to be set to {FULL_TRANSITIVE}"
        table.add_row(entry.subject, str(entry.version), state, level)
    Terminal().print(table)
