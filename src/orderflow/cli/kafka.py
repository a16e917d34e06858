"""`orderflow kafka TOOL …`: Kafka's own command-line tools, with the Java that is here."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from orderflow.cli.configuration import tool_settings
from orderflow.cli.instance import BrokersOption, chosen_instance, instance
from orderflow.contracts.known_names import there_are
from orderflow.messaging.errors import ConfigurationError
from orderflow.stack.parts import jars
from orderflow.stack.parts.java import SMALL_SERVER, java

_TOOLS = "org.apache.kafka.tools"
TOOLS = {
    "acls": f"{_TOOLS}.AclCommand",
    "broker-api-versions": f"{_TOOLS}.BrokerApiVersionsCommand",
    "configs": "kafka.admin.ConfigCommand",
    "console-consumer": f"{_TOOLS}.consumer.ConsoleConsumer",
    "console-producer": f"{_TOOLS}.ConsoleProducer",
    "consumer-groups": f"{_TOOLS}.consumer.group.ConsumerGroupCommand",
    "delete-records": f"{_TOOLS}.DeleteRecordsCommand",
    "features": f"{_TOOLS}.FeatureCommand",
    "get-offsets": f"{_TOOLS}.GetOffsetShell",
    "groups": f"{_TOOLS}.GroupsCommand",
    "leader-election": f"{_TOOLS}.LeaderElectionCommand",
    "log-dirs": f"{_TOOLS}.LogDirsCommand",
    "metadata-quorum": f"{_TOOLS}.MetadataQuorumCommand",
    "reassign-partitions": f"{_TOOLS}.reassign.ReassignPartitionsCommand",
    "share-groups": f"{_TOOLS}.consumer.group.ShareGroupCommand",
    "topics": f"{_TOOLS}.TopicCommand",
    "transactions": f"{_TOOLS}.TransactionsCommand",
}
"""As their scripts are called without `kafka-` and `.sh`; the classes that those start."""
JVM = (*SMALL_SERVER, "-Xmx256m")
ADDRESSES = ("--bootstrap-server", "--bootstrap-controller")

app = typer.Typer(add_completion=False)


@app.command(
    no_args_is_help=True,
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
def kafka(
    tool: Annotated[
        str,
        typer.Argument(
            metavar="TOOL",
            help=f"One of: {', '.join(TOOLS)}.",
            autocompletion=lambda incomplete: [
                name for name in TOOLS if name.startswith(incomplete)
            ],
        ),
    ],
    arguments: Annotated[
        list[str] | None,
        typer.Argument(metavar="ARGUMENT", help="What the tool takes; --help shows that."),
    ] = None,
    brokers: BrokersOption = None,
) -> None:
    """
    Run one of Kafka's own command-line tools, as kafka-topics.sh would, on the local stack's broker
    or on that of ORDERFLOW_KAFKA__BOOTSTRAP_SERVERS, with the Java that is here.

    All that follows the tool's name is the tool's own, and so is the exit code. Another address may
    stand there: --bootstrap-server. Settings for a secured cluster go by --command-config.

    \b
    Examples:
      orderflow kafka topics --list
      orderflow kafka topics --describe --topic orders
      orderflow kafka consumer-groups --describe --group payment-service
      orderflow kafka console-consumer --topic orders --max-messages 3
      orderflow kafka --brokers 3 metadata-quorum describe --status
    """
    if tool not in TOOLS:
        raise ConfigurationError(f"Kafka has no tool {tool!r} here; {there_are(tool, TOOLS)}")
    words = list(arguments or ())
    if not {"--help", *ADDRESSES} & {word.partition("=")[0] for word in words}:
        servers = tool_settings(of=chosen_instance(brokers)).kafka.bootstrap_servers
        # Before the tool's own: some have verbs, and this belongs to none of them.
        words = [ADDRESSES[0], servers, *words]

    classpath = jars.locate(instance(brokers).cache_dir).kafka_classpath
    command = [java(), *JVM, "-cp", classpath, TOOLS[tool], *words]
    sys.stdout.flush()
    os.execv(command[0], command)  # noqa: S606
