"""
Apache Kafka in KRaft mode: one combined node, or three with RF 3 and `min.insync.replicas` 2.

Listeners are on 127.0.0.1 only, in plain text. Topics are never made by accident
(`auto.create.topics.enable=false`).
"""

from __future__ import annotations

import base64
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path

from orderflow.stack.parts import jars
from orderflow.stack.parts.java import SMALL_SERVER, java, quick_start
from orderflow.stack.ports import HOST
from orderflow.stack.settings import StackSettings
from orderflow.stack.supervise.component import (
    Command,
    Component,
    make_directory,
    plain_environment,
    port_probe,
)

SERVER = "kafka"
LOG4J2 = Path(__file__).with_name("kafka-log4j2.xml")

COMMON = {
    "process.roles": "broker,controller",
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "PLAINTEXT",
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "auto.create.topics.enable": "false",
    "group.initial.rebalance.delay.ms": "0",
    "offsets.topic.num.partitions": "8",
    "transaction.state.log.num.partitions": "8",
    "share.coordinator.state.topic.num.partitions": "2",
    "log.cleaner.dedupe.buffer.size": "16777216",
    # All share a few cores with their clients: a request that wakes fewer threads costs less.
    "num.network.threads": "1",
    "num.io.threads": "2",
    "group.coordinator.threads": "1",
    "share.coordinator.threads": "1",
    # A dead broker is noticed, and may come back, after 3 s. Below that a busy machine loses
    # brokers by mistake.
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "500",
    # A stack left alone for weeks must find its positions again: a year instead of a week.
    "offsets.retention.minutes": "525600",
}
ONE = {
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
}
THREE = {
    "offsets.topic.replication.factor": "3",
    "transaction.state.log.replication.factor": "3",
    "transaction.state.log.min.isr": "2",
    "share.coordinator.state.topic.replication.factor": "3",
    "share.coordinator.state.topic.min.isr": "2",
    "default.replication.factor": "3",
    "min.insync.replicas": "2",
    "replica.lag.time.max.ms": "5000",
    "controller.quorum.fetch.timeout.ms": "1500",
    "controller.quorum.election.timeout.ms": "1000",
}


def components(settings: StackSettings) -> list[Component]:
    """Per broker: format its directory once, then run it."""
    return [part for node in nodes(settings) for part in _node(settings, node)]


def nodes(settings: StackSettings) -> range:
    """The node ids, from 1."""
    return range(1, settings.brokers + 1)


def names(settings: StackSettings) -> tuple[str, ...]:
    """The brokers' component names: `kafka`, or `kafka-1` to `kafka-3`."""
    return tuple(_name(settings, node) for node in nodes(settings))


def bootstrap_servers(settings: StackSettings) -> str:
    """All brokers' addresses, comma-separated."""
    return ",".join(f"{HOST}:{settings.ports.kafka[node - 1]}" for node in nodes(settings))


def _node(settings: StackSettings, node: int) -> list[Component]:
    name = _name(settings, node)
    place = settings.data / name
    fresh = place.with_name(f"{name}.new")
    port = settings.ports.kafka[node - 1]
    properties = settings.run / f"{name}.properties"

    return [
        Component(
            name=f"{name}-format",
            service="kafka",
            role="step",
            once=True,
            is_done=place.is_dir,
            prepare=lambda: _begin_format(settings, node, fresh),
            command=lambda: _format(settings, fresh),
            finish=lambda: _end_format(fresh, place),
        ),
        Component(
            name=name,
            service="kafka",
            role="broker",
            needs=(f"{name}-format",),
            slot=node - 1,
            address=f"{HOST}:{port}",
            ports=(port, port + 1),
            prepare=lambda: _write_properties(settings, node, place, properties),
            command=lambda: _run(settings, properties),
            probe=port_probe(port),
            ready_line="Kafka Server started",
            start_within_s=120.0,
            stop_signals=((15, 30.0),),
        ),
    ]


def _name(settings: StackSettings, node: int) -> str:
    return "kafka" if settings.brokers == 1 else f"kafka-{node}"


def _write_properties(settings: StackSettings, node: int, log_dir: Path, file: Path) -> None:
    ports = settings.ports.kafka
    plain = f"PLAINTEXT://{HOST}:{ports[node - 1]}"
    own = {
        "node.id": str(node),
        "controller.quorum.voters": ",".join(
            f"{n}@{HOST}:{ports[n - 1] + 1}" for n in nodes(settings)
        ),
        "listeners": f"{plain},CONTROLLER://{HOST}:{ports[node - 1] + 1}",
        "advertised.listeners": plain,
        "log.dirs": str(log_dir),
    }

    lines = {**COMMON, **(ONE if settings.brokers == 1 else THREE), **own}
    write_properties(file, lines)


def write_properties(file: Path, properties: Mapping[str, str]) -> None:
    """
    Write a Java properties file: ISO-8859-1, so all but printable ASCII is escaped.

    A list of directories is split at its commas, for which there is no escape: `settings` refuses
    them in a path.
    """
    lines = (f"{key}={''.join(map(_escaped, value))}\n" for key, value in properties.items())
    file.write_text("".join(lines), encoding="ascii")


def _escaped(character: str) -> str:
    if character == "\\":
        return "\\\\"
    if " " < character <= "~":
        return character
    units = character.encode("utf-16-be")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))


def _run(settings: StackSettings, properties: Path) -> Command:
    memory = ("-Xms128m", "-Xmx512m") if settings.brokers == 1 else ("-Xms96m", "-Xmx384m")
    return _java(settings, *memory, main=("kafka.Kafka", str(properties)))


def _format(settings: StackSettings, fresh: Path) -> Command:
    arguments = ("format", "-t", _cluster_id(settings), "-c", str(fresh.with_suffix(".properties")))
    return _java(settings, "-Xmx128m", main=("kafka.tools.StorageTool", *arguments))


def _java(settings: StackSettings, *options: str, main: tuple[str, ...]) -> Command:
    logging = (f"-Dlog4j2.configurationFile={LOG4J2.as_uri()}", "-Dlog4j2.disableJmx=true")
    classpath = jars.locate(settings.cache_dir).kafka_classpath

    return Command(
        argv=(
            java(),
            *options,
            *SMALL_SERVER,
            *quick_start(SERVER, classpath),
            *logging,
            "-cp",
            classpath,
            *main,
        ),
        env=plain_environment(),
    )


def _begin_format(settings: StackSettings, node: int, fresh: Path) -> None:
    """Throw away a broken-off attempt: the directory takes its name only when it is whole."""
    make_directory(fresh.parent)
    shutil.rmtree(fresh, ignore_errors=True)
    _write_properties(settings, node, fresh, fresh.with_suffix(".properties"))


def _end_format(fresh: Path, place: Path) -> None:
    fresh.with_suffix(".properties").unlink()
    fresh.rename(place)


def _cluster_id(settings: StackSettings) -> str:
    """Drawn once per data directory; all brokers of a cluster are formatted with the same."""
    file = make_directory(settings.data) / "kafka-cluster-id"
    if not file.exists():
        # The first bits are zero, so that the text never begins with a dash, which the tool would
        # take for an option.
        drawn = bytes([0, *uuid.uuid4().bytes[1:]])
        file.write_text(base64.urlsafe_b64encode(drawn).decode().rstrip("="))
    return file.read_text()
