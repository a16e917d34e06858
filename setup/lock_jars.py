"""
`make lock-jars`: resolve the Java parts and write `src/orderflow/stack/parts/jars.lock`.

Change a version here, run it, and review the difference: set-up fetches the files of the lock.
"""

import hashlib
import tempfile
from pathlib import Path

import truststore
from jgo.maven import Artifact, Dependency, MavenContext

KAFKA = "4.3.1"
LOG4J = "2.25.4"
APICURIO = "3.3.3"
ZIPKIN = "3.6.1"
DEBEZIUM = "3.7.0.Final"
JDBC_SINK = "3.6.0.Final"
"""The newest JDBC sink that the public repository holds beside its connector's archive."""
CONVERTER = "2.6.13.Final"
"""The newest of Apicurio's converters with a jar; it speaks to the 3.3 server by its older API."""
LOCK = Path(__file__).parents[1] / "src" / "orderflow" / "stack" / "parts" / "jars.lock"
HEADER = """\
# The Java parts of the local stack. Made by `make lock-jars` from setup/lock_jars.py; not edited \
by hand.
# use  coordinates  sha256  bytes
"""


def wanted(context: MavenContext) -> list[Artifact]:
    """The broker, its tools without Connect, and a logger for slf4j 1.7."""
    return resolved(
        context,
        context.create_dependency(f"org.apache.kafka:kafka_2.13:{KAFKA}"),
        context.create_dependency(
            f"org.apache.kafka:kafka-tools:{KAFKA}",
            [
                context.project("org.apache.kafka", "connect-runtime"),
                context.project("com.fasterxml.jackson.jakarta.rs", "*"),
            ],
        ),
        context.create_dependency(f"org.apache.logging.log4j:log4j-slf4j-impl:{LOG4J}"),
    )


def connect(context: MavenContext) -> list[Artifact]:
    """A Connect worker of the broker's version, with Kafka's own transforms."""
    return resolved(
        context,
        *(
            context.create_dependency(f"org.apache.kafka:connect-{part}:{KAFKA}")
            for part in ("runtime", "json", "transforms")
        ),
        context.create_dependency(f"org.apache.logging.log4j:log4j-slf4j-impl:{LOG4J}"),
    )


def converter(context: MavenContext) -> list[Artifact]:
    """Avro through the registry, for Connect, without what the worker brings."""
    return resolved(
        context,
        context.create_dependency(
            f"io.apicurio:apicurio-registry-utils-converter:{CONVERTER}",
            [
                context.project("org.apache.kafka", "*"),
                context.project("io.apicurio", "apicurio-registry-serdes-jsonschema-serde"),
                context.project("io.apicurio", "apicurio-registry-serdes-protobuf-serde"),
            ],
        ),
    )


def resolved(context: MavenContext, *dependencies: Dependency) -> list[Artifact]:
    """These and what they need at run time."""
    # Each names its own versions; used as each other's BOM they would be downgraded.
    for dependency in dependencies:
        dependency.raw = True
    inputs, transitive = context.resolver.resolve(list(dependencies))
    return [dependency.artifact for dependency in inputs + transitive]


def row(use: str, artifact: Artifact) -> str:
    content = artifact.resolve().read_bytes()
    parts = [
        artifact.groupId,
        artifact.artifactId,
        artifact.version,
        artifact.packaging,
        artifact.classifier,
    ]
    coordinates = ":".join(filter(None, parts))
    return f"{use} {coordinates} {hashlib.sha256(content).hexdigest()} {len(content)}\n"


def main() -> None:
    truststore.inject_into_ssl()
    with tempfile.TemporaryDirectory() as scratch:
        context = MavenContext(repo_cache=Path(scratch), timeout=60)
        archive = (
            context.project("io.apicurio", "apicurio-registry-app")
            .at_version(APICURIO)
            .artifact("all", "tar.gz")
        )
        zipkin = (
            context.project("io.zipkin", "zipkin-server").at_version(ZIPKIN).artifact("exec", "jar")
        )
        plugins = {
            "debezium": ("debezium-connector-postgres", DEBEZIUM),
            "jdbc-sink": ("debezium-connector-jdbc", JDBC_SINK),
        }
        rows = [
            *sorted({row("kafka", artifact) for artifact in wanted(context)}),
            row("apicurio", archive),
            row("zipkin", zipkin),
            *sorted({row("connect", artifact) for artifact in connect(context)}),
            *sorted({row("converter", artifact) for artifact in converter(context)}),
            *(
                row(
                    use,
                    context.project("io.debezium", name)
                    .at_version(version)
                    .artifact("plugin", "tar.gz"),
                )
                for use, (name, version) in plugins.items()
            ),
        ]

    LOCK.write_text(HEADER + "".join(rows))
    print(f"{LOCK.name}: {len(rows)} files")  # noqa: T201


if __name__ == "__main__":
    main()
