"""`orderflow topics plan | apply`: what the cluster's topics should be, and making them so."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

import typer
from rich.table import Table

from orderflow.cli.configuration import tool_settings
from orderflow.cli.deployment import AwayS, patient
from orderflow.cli.output import write_json
from orderflow.cli.terminal import Terminal
from orderflow.contracts.roster import TOPICS
from orderflow.messaging.kafka.admin import Admin, bring_about, plan
from orderflow.messaging.kafka.topics import TopicPlan
from orderflow.messaging.work.patience import AWAY_S_MAX

app = typer.Typer(
    help="The topics: compare them with the cluster, and make them.", no_args_is_help=True
)

Json = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]


@app.command("plan")
def show_plan(as_json: Json = False, away_s: AwayS = AWAY_S_MAX) -> None:
    """Show what `apply` would do. Exit 1 if the cluster has something unsafe."""
    settings = tool_settings(waits=True)
    admin = Admin(settings.kafka)
    planned = patient(away_s).through(lambda: plan(TOPICS, admin, settings.topics))
    _show(planned, as_json=as_json, done=False)
    warn_of_short_memory(admin)
    planned.refuse_unsafe()


@app.command("apply")
def apply(as_json: Json = False, away_s: AwayS = AWAY_S_MAX) -> None:
    """
    Create what is missing; refuse, before any change, what is unsafe. Brokers that are away or busy
    are waited for.
    """
    settings = tool_settings(waits=True)
    admin = Admin(settings.kafka)
    planned = patient(away_s).through(lambda: bring_about(TOPICS, admin, settings.topics))
    _show(planned, as_json=as_json, done=True)
    warn_of_short_memory(admin)


def warn_of_short_memory(admin: Admin) -> None:
    """Say so if brokers forget where a group stands before its topics forget its records."""
    longest = max(topic.retention for topic in TOPICS if topic.retention is not None)
    kept = admin.offsets_kept_for()
    if kept < longest:
        Terminal(stderr=True, highlight=False, soft_wrap=True).print(
            f"offsets.retention.minutes is {kept // timedelta(minutes=1)} on the brokers: a group "
            f"that is away for {kept.days} days begins anew, and a relay refuses to start; "
            f"{longest // timedelta(minutes=1)} or more keeps it for as long as its records",
            style="yellow",
        )


def _show(planned: TopicPlan, *, as_json: bool, done: bool) -> None:
    if as_json:
        write_json(planned)
        return

    table = Table("topic", "what", "detail", box=None, pad_edge=False)
    for creation in planned.creations:
        days = int(creation.config.get("retention.ms", 0)) // 86_400_000
        detail = (
            f"{creation.partitions} partition{'s' * (creation.partitions > 1)}, "
            f"RF {creation.replicas}, min ISR {creation.config['min.insync.replicas']}, "
            f"{f'{days} d' if days else 'compacted'}"
        )
        table.add_row(creation.topic, "created" if done else "create", detail)
    for change in planned.alterations:
        table.add_row(
            change.topic,
            "altered" if done else "alter",
            f"{change.setting} {change.present} → {change.wanted}",
        )
    for refusal in planned.refusals:
        table.add_row(
            refusal.topic,
            "[red]refused[/red]",
            f"{refusal.setting} is {refusal.present}, not {refusal.wanted}",
        )
    for name in planned.unchanged:
        table.add_row(name, "as promised", "")
    Terminal().print(table)
