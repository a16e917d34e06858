"""Kafka's own command-line tools, as an outsider would run them, and our command beside them."""

from __future__ import annotations

import subprocess
import sys

from tests.support.stack import Stack

JVM = ("-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")


def kafka_tool(stack: Stack, tool: str, *arguments: str, timeout_s: float = 90) -> str:
    """Run a Java tool by class name against the stack's broker; its standard output."""
    command = [
        stack.java,
        *JVM,
        "-cp",
        stack.kafka_classpath,
        tool,
        "--bootstrap-server",
        stack.bootstrap_servers,
    ]

    done = subprocess.run(
        [*command, *arguments],
        capture_output=True,
        errors="backslashreplace",
        timeout=timeout_s,
        check=False,
    )

    assert done.returncode == 0, (
        f"{tool} {' '.join(arguments)}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    )
    return done.stdout


def console_consumer(stack: Stack, topic: str, *, records_max: int) -> str:
    """
    The committed records of a topic from the beginning, as Kafka's console consumer prints them:
    each has partition, offset, headers, key and value, with tabs between. A value is Avro: it may
    hold any byte, newlines too.
    """
    shown = ("print.key", "print.headers", "print.offset", "print.partition")
    return kafka_tool(
        stack,
        "org.apache.kafka.tools.consumer.ConsoleConsumer",
        *("--topic", topic, "--from-beginning", "--isolation-level", "read_committed"),
        *("--max-messages", str(records_max), "--timeout-ms", "20000"),
        *(argument for name in shown for argument in ("--formatter-property", f"{name}=true")),
    )


def orderflow(
    stack: Stack, *arguments: str, timeout_s: float = 60, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run our own command against the stack, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "orderflow.cli.main", *arguments],
        env={**stack.service_environment, **environment},
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
