"""
Kafka Connect: one distributed worker and the warehouse that its sink fills. Only where
`--with connect` asks for it.

Plugins are looked up by their service manifests: a scan of every jar takes three times the time and
four times the memory. Apicurio's converter has no manifest, so one is written beside it.
"""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

from orderflow.connect.deploy import describe
from orderflow.connect.rest import ConnectClient
from orderflow.messaging.errors import OrderflowError, Unavailable
from orderflow.messaging.work.reasons import Degraded
from orderflow.stack.parts import jars, kafka, postgres
from orderflow.stack.parts.java import SMALL_SERVER, java, quick_start
from orderflow.stack.ports import HOST
from orderflow.stack.settings import PUBLISHER, StackSettings
from orderflow.stack.supervise.component import (
    PROBE_TIMEOUT_S,
    Command,
    Component,
    http_probe,
    make_directory,
    plain_environment,
)

SERVER = "connect"
"""What its cache of classes is called."""

WAREHOUSE = "warehouse"
"""The sink's database: its own, beside those of the services."""

LOG4J2 = Path(__file__).with_name("connect-log4j2.xml")
CONVERTERS = "META-INF/services/org.apache.kafka.connect.storage.Converter"
CONVERTER = "io.apicurio.registry.utils.converter.AvroConverter"

WORKER = {
    "group.id": "orderflow-connect",
    "config.storage.topic": "connect-configs",
    "offset.storage.topic": "connect-offsets",
    "status.storage.topic": "connect-status",
    "offset.storage.partitions": "1",
    "status.storage.partitions": "1",
    "key.converter": "org.apache.kafka.connect.storage.StringConverter",
    "value.converter": "org.apache.kafka.connect.converters.ByteArrayConverter",
    "plugin.discovery": "service_load",
    # One source that can't repeat a record is worth the fencing of all; sinks are as before.
    "exactly.once.source.support": "enabled",
    # A worker that was killed comes back under the same roof: nobody else could take its tasks.
    "scheduled.rebalance.max.delay.ms": "0",
    # How long a worker that was killed is waited for: the shortest that brokers allow.
    "session.timeout.ms": "6000",
    "heartbeat.interval.ms": "2000",
    "offset.flush.interval.ms": "1000",
    "connector.client.config.override.policy": "All",
    "config.providers": "env",
    "config.providers.env.class": "org.apache.kafka.common.config.provider.EnvVarConfigProvider",
    "config.providers.env.param.allowlist.pattern": "ORDERFLOW_(WAREHOUSE|ORDER)_PASSWORD",
}


def components(settings: StackSettings) -> list[Component]:
    """The warehouse's database, and the worker."""
    port = settings.ports.connect

    return [
        Component(
            name="warehouse",
            service="connect",
            role="step",
            once=True,
            needs=("postgres",),
            command=lambda: postgres.make_databases(settings.ports.postgres, (WAREHOUSE,)),
        ),
        Component(
            name="connect",
            service="connect",
            role="connect",
            needs=(*kafka.names(settings), "registry", "warehouse", *_caretaker(settings)),
            address=url(settings),
            ports=(port,),
            prepare=lambda: _prepare(settings),
            command=lambda: _command(settings),
            probe=lambda: _trouble(settings),
            start_within_s=180.0,
        ),
    ]


def url(settings: StackSettings) -> str:
    """Its REST interface."""
    return f"http://{HOST}:{settings.ports.connect}"


def process_environment(settings: StackSettings) -> dict[str, str]:
    """Where Connect and the warehouse are; nothing where they are not."""
    if "connect" not in settings.services:
        return {}
    return {
        PUBLISHER: settings.publisher,
        "ORDERFLOW_CONNECT__URL": url(settings),
        "ORDERFLOW_OPERATIONS__RESTARTER__CONNECT_URL": url(settings),
        "ORDERFLOW_WAREHOUSE__DATABASE__DSN": (
            f"postgresql://postgres@{HOST}:{settings.ports.postgres}/{WAREHOUSE}"
        ),
    }


def _caretaker(settings: StackSettings) -> tuple[str, ...]:
    """
    The process that makes slot and position before Debezium reads: so the worker stops before it,
    and before PostgreSQL, whose fast stop would wait for whoever reads a slot.
    """
    return ("order-relay",) if settings.publisher == "debezium" else ()


def _trouble(settings: StackSettings) -> str:
    """What is wrong with the worker; `Degraded` if that is with a connector of it."""
    wrong = http_probe(settings.ports.connect, "/health")()
    if wrong:
        return wrong

    try:
        with ConnectClient(url(settings), within_s=PROBE_TIMEOUT_S) as client:
            states = client.states()
    except OrderflowError as error:
        return str(error)
    return Degraded(
        "; ".join(
            f"{state.name} {describe(state)}: {state.reason or 'no reason is said'}"
            for state in states
            if not state.is_running
        )
    )


def _prepare(settings: StackSettings) -> None:
    # A worker that can ask for no schema takes every record for a bad one.
    is_here = "registry" in settings.services
    if is_here and http_probe(settings.ports.registry_health, "/health/ready")():
        raise Unavailable("the registry is not ready: a sink needs it", resource="registry")

    _lay_out_plugins(settings)
    replicas = "1" if settings.brokers == 1 else "3"
    own = {
        "bootstrap.servers": kafka.bootstrap_servers(settings),
        "listeners": url(settings),
        "rest.advertised.host.name": HOST,
        "rest.advertised.port": str(settings.ports.connect),
        "plugin.path": str(_plugins(settings)),
        **{
            f"{name}.storage.replication.factor": replicas
            for name in ("config", "offset", "status")
        },
    }
    kafka.write_properties(_properties(settings), {**WORKER, **own})


def _lay_out_plugins(settings: StackSettings) -> None:
    """A folder for each plugin, with links to what the cache has."""
    root = _plugins(settings)
    shutil.rmtree(root, ignore_errors=True)

    for use in jars.PLUGINS:
        if not jars.are_present(settings.cache_dir, [use]):
            continue
        place = make_directory(root / use)
        for jar in sorted(jars.place_of(settings.cache_dir, use).rglob("*.jar")):
            (place / jar.name).symlink_to(jar)
        if use == "converter":
            with zipfile.ZipFile(place / "manifest.jar", "w") as archive:
                archive.writestr(CONVERTERS, f"{CONVERTER}\n")


def classpath(cache_dir: Path) -> str:
    """The worker's own jars, without its plugins'."""
    return f"{jars.place_of(cache_dir, 'connect')}/*"


def _command(settings: StackSettings) -> Command:
    own = classpath(settings.cache_dir)

    return Command(
        argv=(
            java(),
            "-Xms64m",
            "-Xmx256m",
            *SMALL_SERVER,
            *quick_start(SERVER, own),
            f"-Dlog4j2.configurationFile={LOG4J2.as_uri()}",
            "-Dlog4j2.disableJmx=true",
            "-cp",
            own,
            "org.apache.kafka.connect.cli.ConnectDistributed",
            str(_properties(settings)),
        ),
        # PostgreSQL trusts this machine; the driver wants a value.
        env=plain_environment(
            ORDERFLOW_WAREHOUSE_PASSWORD="trusted",  # noqa: S106
            ORDERFLOW_ORDER_PASSWORD="trusted",  # noqa: S106
        ),
        cwd=str(settings.run),
    )


def _plugins(settings: StackSettings) -> Path:
    return settings.run / "connect-plugins"


def _properties(settings: StackSettings) -> Path:
    return settings.run / "connect.properties"
