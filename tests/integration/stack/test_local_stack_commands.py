"""
`orderflow up` and the rest as people run them, and what can go wrong.

Each failure is one clear line and an exit code, leaves nothing behind, and the next `up` works. A
stack of PostgreSQL alone shows all of it and starts in a second.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.support.stack import RUNNING_STACK, temporary_home
from tests.support.zipkin import Zipkin

from orderflow.messaging.settings import TracesSection
from orderflow.messaging.telemetry.span_export import SdkSink, exporter_of
from orderflow.messaging.telemetry.trace_context import TraceContext
from orderflow.messaging.telemetry.traces import Span
from orderflow.messaging.testing.eventually import eventually
from orderflow.stack import lifecycle
from orderflow.stack.parts.jars import default_cache_dir
from orderflow.stack.ports import HOST, free_ports, is_open
from orderflow.stack.settings import Ports, StackSettings

WITHIN_S = 60.0
FIELDS = {
    "name",
    "service",
    "role",
    "slot",
    "pid",
    "address",
    "state",
    "health",
    "restarts",
    "reason",
}


SPAN = Span(
    name="process orders",
    kind="consumer",
    context=TraceContext("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", "01"),
    parent_id="00f067aa0ba902b7",
    started_ns=time.time_ns() - 2_000_000,
    ended_ns=time.time_ns(),
    attributes={"messaging.system": "kafka"},
)


class Instance:
    """One instance of the stack, reached by the command line alone."""

    def __init__(self, state_dir: Path) -> None:
        self.state_dir = state_dir
        self.home = state_dir / "single"
        self.port, zipkin_port = free_ports(2, start=os.getpid() * 11)
        self.settings = StackSettings(
            home=self.home,
            cache_dir=default_cache_dir(),
            services=("postgres",),
            ports=Ports(postgres=self.port, zipkin=zipkin_port),
        )
        self.environment = {
            **{name: value for name, value in os.environ.items() if name != RUNNING_STACK},
            "ORDERFLOW_STACK__STATE_DIR": str(state_dir),
            "ORDERFLOW_STACK__SERVICES": '["postgres"]',
            "ORDERFLOW_STACK__PORTS__POSTGRES": str(self.port),
            "ORDERFLOW_STACK__PORTS__ZIPKIN": str(zipkin_port),
        }

    def begin(self, *arguments: str, **settings: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "orderflow.cli.main", *arguments],
            env={**self.environment, **settings},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        with self.begin(*arguments, **settings) as process:
            out, err = process.communicate(timeout=WITHIN_S)
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    def up(self) -> None:
        done = self.run("up")
        assert done.returncode == 0, done.stderr

    def process(self, name: str = "postgres") -> dict[str, Any]:
        (process,) = [row for row in self.status() if row["name"] == name]
        return process

    def status(self) -> list[dict[str, Any]]:
        """What `status --json` prints, without the second that the command takes."""
        return [asdict(row) for row in lifecycle.status(self.settings)]

    def processes(self) -> list[psutil.Process]:
        """Whatever runs for this instance: its directory stands in every command line."""
        mine = []
        for process in psutil.process_iter(["cmdline"]):
            if str(self.state_dir) in " ".join(process.info["cmdline"] or []):
                mine.append(process)
        return mine

    def supervisor(self) -> psutil.Process:
        (supervisor,) = [p for p in self.processes() if "orderflow.stack.supervisor" in p.cmdline()]
        return supervisor


@pytest.fixture
def instance() -> Iterator[Instance]:
    with temporary_home() as state_dir:
        instance = Instance(state_dir)
        try:
            yield instance
        finally:
            lifecycle.down(instance.settings)
            eventually(lambda: not instance.processes(), within_s=10, why="nothing runs after down")


def only_line(text: str) -> str:
    (line,) = [line for line in text.splitlines() if line.startswith("orderflow: ")]
    return line


def test_up_starts_status_tells_and_a_second_up_uses_what_runs(instance: Instance) -> None:
    instance.up()
    status = instance.run("status", "--json")
    assert status.returncode == 0
    (postgres,) = json.loads(status.stdout)["processes"]
    assert set(postgres) == FIELDS
    assert (postgres["state"], postgres["health"], postgres["restarts"]) == ("running", "ok", 0)
    again = instance.run("up")
    assert again.returncode == 0
    assert "already running" in again.stderr
    assert instance.process()["pid"] == postgres["pid"]
    assert (
        f"ORDER_DATABASE_URL=postgresql://postgres@{HOST}:{instance.port}/order"
        in instance.run("env").stdout
    )


def test_up_says_where_data_is_and_whether_it_is_new_and_no_address_of_what_does_not_run(
    instance: Instance,
) -> None:
    first = instance.run("up").stderr
    assert f"data: {instance.home} (new, empty)\n" in first
    assert "/docs" not in first
    assert f"data: {instance.home}\n" in instance.run("up").stderr


def test_down_twice_is_no_error_and_data_survives(instance: Instance) -> None:
    instance.up()
    assert instance.run("down").returncode == 0
    assert not instance.processes()
    second = instance.run("down")
    assert (second.returncode, second.stderr.strip()) == (0, "nothing was running")
    assert (instance.home / "data" / "postgres" / "18" / "PG_VERSION").exists()
    assert instance.run("status").returncode == 1


def test_a_taken_port_is_named_with_its_holder_and_nothing_starts(instance: Instance) -> None:
    with socket.socket() as thief:
        thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        thief.bind((HOST, instance.port))
        thief.listen()
        failed = instance.run("up")
    assert failed.returncode == 1
    line = only_line(failed.stderr)
    assert f"port {instance.port}" in line
    assert f"pid {os.getpid()}" in line
    assert "ORDERFLOW_STACK__PORT_OFFSET" in line
    assert not instance.processes()
    instance.up()


def test_two_ups_at_once_make_one_stack_and_both_succeed(instance: Instance) -> None:
    first, second = instance.begin("up"), instance.begin("up")
    with first, second:
        said = [process.communicate(timeout=WITHIN_S)[1] for process in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0), said
    assert sorted("already running" in text for text in said) == [False, True]
    instance.supervisor()


def test_an_interrupt_half_way_stops_what_had_started(instance: Instance) -> None:
    with instance.begin("up") as process:
        # The data directory is being made: the worst moment to stop.
        eventually((instance.home / "logs" / "postgres-init.log").exists, within_s=20)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=WITHIN_S)
    assert process.returncode == 130
    assert only_line(said) == "orderflow: interrupted: what had started is stopped again"
    assert "Traceback" not in said
    assert not instance.processes()
    instance.up()


def test_nothing_outlives_a_killed_supervisor_and_the_next_up_works(instance: Instance) -> None:
    instance.up()
    instance.supervisor().kill()
    eventually(
        lambda: not instance.processes(), within_s=5, why="children die with their supervisor"
    )
    assert instance.process()["reason"] == "its supervisor was killed"
    instance.up()
    assert instance.process()["health"] == "ok"


def test_a_child_that_dies_is_restarted_and_counted(instance: Instance) -> None:
    instance.up()
    before = instance.process()["pid"]
    os.kill(before, signal.SIGKILL)

    def restarted() -> bool:
        now = instance.process()
        return bool(now["health"] == "ok" and now["pid"] != before)

    eventually(restarted, within_s=20)
    assert instance.process()["restarts"] >= 1


def test_stale_files_of_a_dead_supervisor_harm_neither_the_next_up_nor_a_stranger(
    instance: Instance,
) -> None:
    run = instance.home / "run"
    run.mkdir(parents=True)
    stranger = os.getpid()
    (run / "children.json").write_text(json.dumps([[stranger, 1.0], [4_000_000, 1.0]]))
    (run / "instance.json").write_text("{}")
    (run / "supervisor.lock").touch()
    with socket.socket(socket.AF_UNIX) as left_over:
        left_over.bind(str(run / "control"))
    instance.up()


def test_one_process_can_be_stopped_and_started_by_name(instance: Instance) -> None:
    instance.up()
    assert instance.run("stop", "postgres").returncode == 0
    assert instance.process()["state"] == "stopped"
    assert instance.run("start", "postgres").returncode == 0
    assert instance.process()["health"] == "ok"
    unknown = instance.run("stop", "posgres")
    assert unknown.returncode == 2
    assert "there are: postgres; did you mean 'postgres'?" in only_line(unknown.stderr)


def test_a_setting_of_the_caller_is_passed_on_announced_or_refused(instance: Instance) -> None:
    instance.up()
    level = {"ORDERFLOW_TELEMETRY__LOG_LEVEL": "debug"}
    running = instance.run("up", **level).stderr
    assert "it runs without your ORDERFLOW_TELEMETRY__LOG_LEVEL: `" in running

    theirs = {"ORDERFLOW_PAYMENT__PSP__READ_TIMEOUT_S": "3"}
    restarted = instance.run("restart", "postgres", **level, **theirs)
    assert restarted.returncode == 0
    assert "postgres: running, with ORDERFLOW_TELEMETRY__LOG_LEVEL until `" in restarted.stderr
    assert "postgres does not read ORDERFLOW_PAYMENT__PSP__READ_TIMEOUT_S" in restarted.stderr
    again = instance.run("restart", "postgres", **level)
    assert again.stderr.strip() == "postgres: running"

    pid = instance.process()["pid"]
    port = {"ORDERFLOW_ORDER__API__PORT": "9999"}
    refused = instance.run("restart", "postgres", **port)
    assert refused.returncode == 2
    assert "sets ORDERFLOW_ORDER__API__PORT itself" in only_line(refused.stderr)
    assert instance.process()["pid"] == pid
    assert instance.run("down").returncode == 0
    assert instance.run("up", **port).returncode == 2
    assert not instance.processes()


def test_reset_asks_and_deletes_only_after_a_yes(instance: Instance) -> None:
    instance.up()
    refused = instance.run("reset")
    assert refused.returncode == 1
    assert "--yes" in only_line(refused.stderr)
    assert instance.process()["health"] == "ok"
    assert instance.run("reset", "--yes").returncode == 0
    assert not instance.home.exists()


def test_a_nearly_full_disk_is_refused_before_anything_starts(instance: Instance) -> None:
    script = (
        "import shutil; real = shutil.disk_usage; "
        "shutil.disk_usage = lambda path: real(path)._replace(free=1_000_000); "
        "from orderflow.cli.main import main; main()"
    )
    failed = subprocess.run(
        [sys.executable, "-c", script, "up"],
        env=instance.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert failed.returncode == 1
    assert "only 1 MB are free" in only_line(failed.stderr)
    assert not instance.processes()


def test_zipkin_is_added_to_what_runs_takes_spans_and_goes_with_the_rest(
    instance: Instance,
) -> None:
    instance.up()
    postgres = instance.process()["pid"]
    added = instance.run("up", "--with", "zipkin")
    assert added.returncode == 0, added.stderr
    url = f"http://{HOST}:{instance.settings.ports.zipkin}"
    assert f"traces: {url}/zipkin/" in added.stderr
    assert f"ZIPKIN_URL={url}" in instance.run("env").stdout

    # The process that exports does not wait for Zipkin either.
    traces = TracesSection(exporter="zipkin", endpoint=f"{url}/api/v2/spans")
    sink = SdkSink(exporter_of(traces), "payment", traces)
    sink.take([SPAN])
    zipkin = Zipkin(url)
    zipkin.eventually_ready()
    (arrived,) = eventually(lambda: zipkin.trace(SPAN.context.trace_id), within_s=30)
    sink.close()
    assert (arrived["id"], arrived["kind"]) == (SPAN.context.span_id, "CONSUMER")
    assert zipkin.services() == {"payment"}
    assert zipkin.dependencies() == {("kafka", "payment")}

    process = instance.process("zipkin")
    assert (process["state"], process["health"], process["address"]) == ("running", "ok", url)
    listening = psutil.Process(process["pid"]).net_connections("tcp")
    assert {each.laddr.ip for each in listening if each.status == psutil.CONN_LISTEN} == {
        f"::ffff:{HOST}"
    }
    assert instance.process()["pid"] == postgres
    assert instance.run("down").returncode == 0
    assert not instance.processes()
    assert not is_open(instance.settings.ports.zipkin)


def test_what_with_cannot_add_is_refused_with_what_it_can_and_a_taken_port_is_named(
    instance: Instance,
) -> None:
    refused = instance.run("up", "--with", "jaeger")
    assert refused.returncode == 2
    assert "there are: zipkin" in refused.stderr

    instance.up()
    with socket.socket() as thief:
        thief.bind((HOST, instance.settings.ports.zipkin))
        thief.listen()
        failed = instance.run("up", "--with", "zipkin")
    assert failed.returncode == 1
    assert f"port {instance.settings.ports.zipkin}, wanted for zipkin" in only_line(failed.stderr)
    assert [row["name"] for row in instance.status()] == ["postgres"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ORDERFLOW_STACK__BROKERS", "2"),
        ("ORDERFLOW_STACK__PORTS__POSTGRES", "x"),
        ("ORDERFLOW_STAK__BROKERS", "1"),
    ],
)
def test_a_wrong_setting_is_refused_with_its_name(
    instance: Instance, name: str, value: str
) -> None:
    refused = instance.run("up", **{name: value})
    assert refused.returncode == 2
    assert name in only_line(refused.stderr)
