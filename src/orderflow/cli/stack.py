"""`orderflow up | down | status | stop | start | restart | env | reset`: the local stack."""

from __future__ import annotations

import os
import shlex
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Annotated, Any, Literal, cast
from urllib.parse import urlsplit

import msgspec
import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from orderflow.cli import completion
from orderflow.cli.called import command
from orderflow.cli.configuration import tool_settings
from orderflow.cli.instance import BrokersOption, instance, known_size
from orderflow.cli.open_letters import OpenOfGroup, open_letters
from orderflow.cli.outboxes import outbox_table, outboxes
from orderflow.cli.output import printable, say, write_json
from orderflow.cli.terminal import Terminal
from orderflow.connect.deploy import wait_until_running
from orderflow.connect.rest import ConnectClient
from orderflow.contracts.roster import ALL_GROUPS, GROUPS, SINKS, subscribed
from orderflow.messaging.errors import OrderflowError, Unavailable
from orderflow.messaging.kafka.lag import Lag, lags
from orderflow.stack import lifecycle, state_dirs
from orderflow.stack.addresses import api_url, database_url, exports, process_environment
from orderflow.stack.blueprint import everything, service_of
from orderflow.stack.caller_settings import unread
from orderflow.stack.parts import connect, extra_packages, jars, zipkin
from orderflow.stack.parts.fetch import fetch_uses
from orderflow.stack.ports import HOST, on_the_other_family
from orderflow.stack.settings import EXTRAS, RELAYS, Publisher, StackSettings, from_environment
from orderflow.stack.supervise.control import NOT_RUNNING
from orderflow.stack.supervise.managed import ProcessRow

LAG_WITHIN_S = 3.0
CONNECT_STARTS_WITHIN_S = 180.0
ROLES_FROM = 100
"""Columns of a terminal from which on roles are shown: the names of processes say most of it."""

Json = Annotated[bool, typer.Option("--json", help="JSON on standard output.")]
Name = Annotated[
    str,
    typer.Argument(
        help="A process, as `orderflow status` calls it.", autocompletion=completion.processes
    ),
]


def up(
    brokers: Annotated[
        int | None,
        typer.Option(
            "--brokers",
            metavar="1|3",
            help="3: a cluster with RF 3 and min ISR 2, with data of its own.",
        ),
    ] = None,
    extras: Annotated[
        list[str] | None,
        typer.Option(
            "--with",
            metavar="|".join(EXTRAS),
            help="zipkin: traces of all orders. connect: payments into a warehouse and a lake. "
            "Until `down`.",
        ),
    ] = None,
    relay: Annotated[
        str | None,
        typer.Option(
            "--relay",
            metavar="|".join(RELAYS),
            help="Who publishes the order service's outbox: our relay, or Debezium in Connect. "
            "Until `down`.",
        ),
    ] = None,
) -> None:
    """
    Start Kafka, PostgreSQL, the registry and the services, and wait until everything is ready.

    If the stack runs already, what was stopped in it is started; what `--with` names is added, and
    the services are restarted, for they have to know of it. On failure nothing is left running.

    \b
    Examples:
      orderflow up
      orderflow up --brokers 3
      orderflow up --with zipkin
      orderflow up --with connect
      orderflow up --relay debezium
      ORDERFLOW_STACK__PORT_OFFSET=1000 orderflow up
    """
    wanted = _extras(extras or [])
    settings = from_environment(brokers=known_size(brokers))
    console = Terminal(stderr=True, highlight=False)
    publisher = _publisher(relay)
    chosen = settings.with_extras((*wanted, *([publisher] if publisher else [])))
    _fetch_jars(chosen, console)
    if "lake" in chosen.services:
        extra_packages.ensure(extra_packages.LAKE, console.print)

    is_new = state_dirs.is_new(chosen)
    begun = time.monotonic()
    with console.status("starting …") as spinner:
        progress = _Progress(console, spinner.update)
        outcome = lifecycle.up(
            settings,
            progress,
            waiting=lambda: console.print("another `orderflow up` is at it: waiting for it"),
            extras=wanted,
            publisher=publisher,
        )

    took = f" in {time.monotonic() - begun:.1f} s" if outcome == "started" else ""
    running = lifecycle.current(brokers=settings.brokers)
    api = api_url(running, "order")
    where = f": {api}  (docs: {api}/docs)" if "order" in running.services else ""
    console.print(
        f"[green]{'ready' if outcome == 'started' else 'already running'}[/green]{took}{where}"
    )
    console.print(
        f"data: {running.home}{' (new, empty)' if is_new else ''}", style="dim", soft_wrap=True
    )
    _name_strangers(console, running)
    if outcome == "running" and (others := lifecycle.changed_settings(running)):
        console.print(
            f"it runs without your {', '.join(others)}: `orderflow restart <process>` passes "
            "settings on to one process; `orderflow down`, then `orderflow up` to all",
            style="yellow",
            soft_wrap=True,
        )
    if "zipkin" in running.services:
        console.print(f"traces: {zipkin.url(settings)}/zipkin/  (Zipkin starts last; spans wait)")
    if "connect" in running.services:
        _await_connectors(running, console)
        console.print(f"warehouse: {database_url(settings, connect.WAREHOUSE)}")
    after = (command("status"), command("tail", "orders"), command("down"))
    console.print(f"next: {' | '.join(after)}", style="dim", soft_wrap=True, markup=False)


def down(brokers: BrokersOption = None) -> None:
    """
    Stop everything, what depends on others first. Data stays.

    \b
    Examples:
      orderflow down
      orderflow down --brokers 3
    """
    settings = instance(brokers)
    console = Terminal(stderr=True, highlight=False)
    with console.status("stopping …"):
        ran = lifecycle.down(settings)
    console.print("stopped; the data stays" if ran else "nothing was running")


def status(as_json: Json = False, brokers: BrokersOption = None) -> None:
    """
    Every process: pid, address, state, health, restarts; what waits in each outbox to be published;
    how many records each consumer group is behind, and how many dead letters of it are open.

    Exit 0 if all processes are running and healthy and no dead letter is open, else 1. A record
    that waits, for a provider or for its next try, is behind; those after it that are done are not.
    A group is not behind what its relay has not published: an outbox is measured every 10 s, by the
    service's API. Dead letters are counted every 5 s, by operations.

    \b
    Examples:
      orderflow status
      orderflow status --json | jq '.groups[] | {group, lag}'
      orderflow status --json | jq '.groups[] | select(.dead_letters > 0)'
      orderflow status --json | jq '.outboxes[] | {service, pending, oldest_s}'
      orderflow status --json | jq -r '.processes[] | select(.health != "ok").name'
    """
    settings = instance(brokers)
    processes = lifecycle.status(settings)
    # Together: neither what Kafka nor what an API does not answer adds to the other's wait.
    with ThreadPoolExecutor(2) as asking:
        measured = asking.submit(outboxes, settings, processes)
        counted = asking.submit(open_letters, processes)
        groups, trouble = _groups(settings, processes)
        waiting, letters = measured.result(), counted.result()
    groups = [{**group, **_dead_letters(letters.of(group["group"]))} for group in groups]

    if as_json:
        answer = {
            "processes": [asdict(row) for row in processes],
            "groups": groups,
            "outboxes": msgspec.to_builtins(waiting),
        }
        write_json(answer)
    else:
        console = Terminal(highlight=False)
        console.print(_table(processes, width=console.width))
        if waiting:
            console.print(outbox_table(waiting))
        if groups:
            console.print(_lag_table(groups))
        if trouble:
            console.print(
                f"lag: {printable(trouble)}", style="yellow", markup=False, soft_wrap=True
            )
        for sentence in letters.sentences:
            console.print(sentence, style="yellow", markup=False, soft_wrap=True)
        for sentence in filter(None, (outbox.sentence for outbox in waiting)):
            console.print(sentence, style="yellow", markup=False, soft_wrap=True)
        for process in processes:
            if process.reason:
                console.print(
                    f"{process.name}: {printable(process.reason)}",
                    style="yellow",
                    markup=False,
                    soft_wrap=True,
                )
        if not lifecycle.is_running(settings):
            console.print(NOT_RUNNING, style="yellow")
    if letters.are_there or any(process.health != "ok" for process in processes):
        raise typer.Exit(1)


def stop(name: Name, brokers: BrokersOption = None) -> None:
    """
    Stop one process and leave it stopped, until `start` or `up`. The others go on without it.

    \b
    Examples:
      orderflow stop kafka
      orderflow stop order-relay
    """
    _steer("stop", name, brokers)


def start(name: Name, brokers: BrokersOption = None) -> None:
    """
    Start one process, and wait until it is ready.

    \b
    Examples:
      orderflow start kafka
    """
    _steer("start", name, brokers)


def restart(name: Name, brokers: BrokersOption = None) -> None:
    """
    Stop and start one process, and wait until it is ready.

    \b
    Examples:
      orderflow restart order-api
    """
    _steer("restart", name, brokers)


def env(as_json: Json = False, brokers: BrokersOption = None) -> None:
    """
    Addresses as shell exports, so that any outside client can connect. Kafka's own Java tools have
    a command: `orderflow kafka`.

    \b
    Examples:
      eval "$(orderflow env)" && curl $ORDER_API_URL/products
      eval "$(orderflow env)" && psql "$ORDER_DATABASE_URL"
    """
    wanted = exports(instance(brokers))
    if os.environ.get("JAVA_HOME"):
        # Whoever has a Java of their own keeps it; Kafka's tools have KAFKA_JAVA.
        del wanted["JAVA_HOME"]
    if as_json:
        write_json(wanted)
        return
    for variable, value in wanted.items():
        say(f"export {variable}={shlex.quote(value)}")


def reset(
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    brokers: BrokersOption = None,
) -> None:
    """
    Stop the stack and delete its data: topics, databases, schemas, logs. Asks first.

    \b
    Examples:
      orderflow reset
      orderflow reset --yes --brokers 3
    """
    settings = instance(brokers)
    if not settings.home.exists():
        say(f"nothing to delete: {settings.home} does not exist")
        return
    if not yes:
        if not sys.stdin.isatty():
            raise OrderflowError("reset deletes all data and nobody is here to be asked: say --yes")
        typer.confirm(
            f"Delete all orders, topics, schemas and logs in {settings.home}?", abort=True
        )
    lifecycle.reset(settings)
    say(f"deleted {settings.home}")


def _name_strangers(console: Terminal, running: StackSettings) -> None:
    """Who would answer a client that takes `localhost` for an address of version 6."""
    parts = [part for part in everything(running) if not part.once]
    names = {port: part.name for part in parts for port in part.ports}
    for port, stranger in on_the_other_family(names).items():
        console.print(
            f"localhost:{port} may lead to {printable(stranger)}, which listens on [::1]: "
            f"{names[port]} is at {HOST}:{port}",
            style="yellow",
            markup=False,
            soft_wrap=True,
        )


def _fetch_jars(settings: StackSettings, console: Terminal) -> None:
    """What set-up has fetched is there at once; otherwise fetch it now, with a bar."""
    core = jars.CORE if {"kafka", "registry"} & set(settings.services) else ()
    uses = (*core, *(use for name in settings.services for use in jars.NEEDED_BY.get(name, ())))
    with Progress(
        TextColumn("fetching Java parts"), BarColumn(), DownloadColumn(), console=console
    ) as bar:
        task = bar.add_task("", total=None, visible=False)
        fetch_uses(
            settings.cache_dir,
            uses,
            lambda done, total: bar.update(task, completed=done, total=total, visible=True),
            maven_url=settings.maven_url,
        )


def _await_connectors(settings: StackSettings, console: Terminal) -> None:
    """Until the sink runs: where the rest ran already, nobody has waited for it yet."""
    with (
        console.status("starting the connectors …"),
        ConnectClient(connect.url(settings)) as client,
    ):
        for sink in SINKS:
            wait_until_running(
                client, sink.group, within_s=CONNECT_STARTS_WITHIN_S, is_starting=True
            )


class _Progress:
    """A line for each process that is ready; a spinner that names those that are not."""

    def __init__(self, console: Terminal, spin: Any) -> None:
        self._console, self._spin = console, spin
        self._begun: dict[str, float] = {}

    def __call__(self, name: str, state: str, reason: str) -> None:
        if state == "starting":
            self._begun[name] = time.monotonic()
        elif name in self._begun and state in ("running", "done"):
            took = time.monotonic() - self._begun.pop(name)
            self._console.print(f"[green]✓[/green] {name} [dim]{took:.1f} s[/dim]")
        elif state == "stopping":
            self._begun.pop(name, None)
        self._spin(f"starting {', '.join(self._begun)} …" if self._begun else "…")


def _steer(verb: Literal["start", "stop", "restart"], name: str, brokers: int | None) -> None:
    console = Terminal(stderr=True, highlight=False)
    settings = instance(brokers)
    with console.status(f"{verb} {name} …"):
        fresh = lifecycle.steer(settings, verb, name)
    not_read = unread(fresh, service_of(settings, name))
    read = [setting for setting in fresh if setting not in not_read]

    state = "stopped" if verb == "stop" else "running"
    passed_on = f", with {', '.join(read)} until `orderflow down`" if read else ""
    console.print(f"{name}: {state}{passed_on}", soft_wrap=True)
    if not_read:
        console.print(f"{name} does not read {', '.join(not_read)}", style="yellow", soft_wrap=True)


def _extras(names: list[str]) -> tuple[str, ...]:
    for name in names:
        if name not in EXTRAS:
            raise typer.BadParameter(
                f"there is no {name!r}; there are: {', '.join(EXTRAS)}", param_hint="--with"
            )
    return tuple(dict.fromkeys(names))


def _publisher(name: str | None) -> Publisher | None:
    if name is not None and name not in RELAYS:
        raise typer.BadParameter(
            f"there is no {name!r}; there are: {', '.join(RELAYS)}", param_hint="--relay"
        )
    return cast("Publisher | None", name)


def _table(processes: list[ProcessRow], *, width: int) -> Table:
    """Of an address host and port are shown; roles only where there is room to have them whole."""
    with_roles = width >= ROLES_FROM
    table = Table(box=None, pad_edge=False)
    for title in ("name", "role", "pid", "address", "state", "health", "restarts"):
        if title != "role" or with_roles:
            table.add_column(title, no_wrap=True)

    for process in processes:
        colour = {"ok": "green", "failing": "red"}.get(process.health, "yellow")
        health = f"[{colour}]{process.health}[/{colour}]"
        table.add_row(
            process.name,
            *([process.role] if with_roles else []),
            str(process.pid or "–"),
            urlsplit(process.address).netloc or process.address,
            process.state,
            health,
            str(process.restarts),
        )
    return table


def _groups(
    settings: StackSettings, processes: list[ProcessRow]
) -> tuple[list[dict[str, Any]], str]:
    """Each group's lag, and why it is not known."""
    brokers = [process for process in processes if process.service == "kafka"]
    if "kafka" in settings.services and not any(process.health == "ok" for process in brokers):
        return [], "Kafka does not run"
    if "deploy" not in settings.services:
        return [], ""

    known = ALL_GROUPS if "connect" in settings.services else GROUPS
    subscriptions = {group: subscribed(group) for group in known}
    servers = process_environment(settings)["ORDERFLOW_KAFKA__BOOTSTRAP_SERVERS"]
    try:
        kafka = tool_settings().kafka.model_copy(update={"bootstrap_servers": servers})
        behind = lags(
            kafka,
            subscriptions,
            timeout_s=LAG_WITHIN_S,
            stop_before_markers=[sink.group for sink in SINKS],
        )
    except Unavailable as error:
        return [], str(error)
    return [
        _group(group, [lag for lag in behind if lag.group == group]) for group in subscriptions
    ], ""


def _group(group: str, behind: list[Lag]) -> dict[str, Any]:
    """One row of `status --json`'s groups; the fields are public and stay."""
    topics: dict[str, int] = {}
    for lag in behind:
        topics[lag.topic] = topics.get(lag.topic, 0) + lag.records
    return {
        "group": group,
        "lag": sum(topics.values()),
        "waiting": sum(lag.waiting for lag in behind),
        "topics": topics,
        "beyond": {f"{lag.topic}-{lag.partition}": lag.beyond for lag in behind if lag.beyond},
    }


def _dead_letters(letters: OpenOfGroup | None) -> dict[str, Any]:
    """These fields of a group's row are public, too; None: not known."""
    if letters is None:
        return {"dead_letters": None, "dead_letters_by_topic": None, "dead_letters_oldest_s": None}
    return {
        "dead_letters": letters.letters,
        "dead_letters_by_topic": dict(letters.topics),
        "dead_letters_oldest_s": letters.oldest_s,
    }


def _lag_table(groups: list[dict[str, Any]]) -> Table:
    table = Table("consumer group", box=None, pad_edge=False)
    table.add_column("lag", justify="right")
    table.add_column("waiting", justify="right")
    table.add_column("dead letters", justify="right")
    table.add_column("records behind, by topic")

    for group in groups:
        behind = ", ".join(f"{topic} {lag:,}" for topic, lag in group["topics"].items() if lag)
        behind = behind or "none"
        if group["beyond"]:
            behind += f"; committed beyond the end of the log: {', '.join(group['beyond'])}"
        dead = group["dead_letters"]
        table.add_row(
            group["group"],
            f"{group['lag']:,}",
            f"{group['waiting']:,}",
            Text("–" if dead is None else f"{dead:,}", "red" if dead else ""),
            behind,
        )
    return table
