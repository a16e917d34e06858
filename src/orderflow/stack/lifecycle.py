"""`up`, `down` and the rest, as calls on the supervisor: what the commands and the demo use."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Literal

from filelock import FileLock, Timeout

from orderflow.contracts.roster import ROSTER
from orderflow.stack.blueprint import everything
from orderflow.stack.caller_settings import caller_settings
from orderflow.stack.local_stack import NoSuchProcess, Progress, StackFailed, sweep
from orderflow.stack.settings import Publisher, Service, StackSettings, from_environment
from orderflow.stack.state_dirs import INSTANCES, OWNER, name_owner
from orderflow.stack.supervise.component import make_directory
from orderflow.stack.supervise.control import NOT_RUNNING, NotRunning, answers, ask
from orderflow.stack.supervise.logs import last_lines, trim
from orderflow.stack.supervise.managed import Managed, ProcessRow, State, report

ANSWER_WITHIN_S = 30.0
OTHER_UP_WITHIN_S = 300.0
GONE_WITHIN_S = 120.0
NEEDED_BYTES = 200_000_000
SERVERS_UP = 'ORDERFLOW_STACK__SERVICES=\'["kafka", "postgres", "registry"]\' orderflow up'


def silent(_name: str, _state: str, _reason: str) -> None:
    """No progress is wanted."""


def current(*, brokers: Literal[1, 3] | None = None) -> StackSettings:
    """The instance of a command: that of the option, else the running one, else the configured."""
    for candidate in (brokers,) if brokers else (1, 3):
        record = from_environment(brokers=candidate).run / "instance.json"
        if record.exists() and answers(record.parent):
            return StackSettings.model_validate_json(record.read_bytes())
    return from_environment(brokers=brokers)


def is_running(settings: StackSettings) -> bool:
    """Whether a supervisor answers for the instance; at once."""
    return settings.run.is_dir() and answers(settings.run)


def up(
    settings: StackSettings,
    progress: Progress = silent,
    *,
    waiting: Callable[[], None] = lambda: None,
    extras: Iterable[Service] = (),
    publisher: Publisher | None = None,
) -> Literal["started", "running"]:
    """
    Start the instance and wait until everything is ready; if it runs, start what is stopped in it.

    `extras` are added, to a running instance too: its services are restarted then, since theirs is
    another environment. `publisher` of the order service's outbox, None for that of a running
    instance, is for the instance's life.
    `waiting` is called once when another `up` is at it and has to be waited for. Raises
    StackFailed; then nothing runs, unless it names a process that refuses to go on: then everything
    else does. An interrupt stops again what had started.
    """
    try:
        make_directory(settings.run)
        name_owner(settings)
    except OSError as error:
        raise StackFailed(
            f"can't write {settings.home} ({error.strerror}): "
            "choose another place with ORDERFLOW_STACK__STATE_DIR"
        ) from error

    with _alone(settings, waiting):
        if answers(settings.run):
            _refuse_other_publisher(settings, publisher)
            _add(settings, tuple(extras), progress)
            _revive(settings, progress)
            return "running"

        caller_settings(settings.with_extras(extras))
        _refuse_full_disk(settings)
        _wait_until_gone(settings)
        supervisor = None
        try:
            relays = (publisher,) if publisher else ()
            supervisor = _spawn(settings.with_extras((*extras, *relays)))
            _follow(settings, supervisor, progress)
        except KeyboardInterrupt:
            if supervisor is not None:
                _undo(settings, supervisor)
            raise KeyboardInterrupt("interrupted: what had started is stopped again") from None
        return "started"


def down(settings: StackSettings, progress: Progress = silent) -> bool:
    """Stop the instance; its data stays. False if it did not run."""
    if not settings.run.is_dir():
        return False
    try:
        for event in ask(settings.run, {"do": "down"}):
            if event["event"] == "progress":
                progress(event["name"], event["state"], event["reason"])
    except NotRunning:
        sweep(settings.run / "children.json")
        return not _wait_until_gone(settings)
    _wait_until_gone(settings)
    return True


def status(settings: StackSettings) -> list[ProcessRow]:
    """A row for each process; all `stopped` when no supervisor answers."""
    why = ""
    if settings.run.is_dir():
        try:
            rows = next(ask(settings.run, {"do": "status"}))["processes"]
            return [ProcessRow(**row) for row in rows]
        except NotRunning:
            why = "its supervisor was killed" if (settings.run / "instance.json").exists() else ""
    idle = (
        Managed(part, settings.logs / f"{part.name}.log", reason=why)
        for part in everything(settings)
    )
    return [report(managed) for managed in idle if not managed.component.once]


def steer(
    settings: StackSettings, verb: Literal["start", "stop", "restart"], name: str
) -> list[str]:
    """
    Start, stop or restart a process, and wait for it. What is started gets the caller's settings;
    returns the names of those that it did not have before.

    Raises NotRunning, NoSuchProcess or StackFailed; ConfigurationError for a setting that the stack
    sets itself.
    """
    if not settings.run.is_dir():
        raise NotRunning(NOT_RUNNING)
    given = {} if verb == "stop" else caller_settings(settings)
    answer = next(ask(settings.run, {"do": verb, "name": name, "settings": given}))
    if "unknown" in answer:
        raise NoSuchProcess(answer["unknown"])
    if "failed" in answer:
        raise StackFailed(answer["failed"])
    fresh: list[str] = answer.get("settings", [])
    return fresh


def changed_settings(settings: StackSettings) -> list[str]:
    """Those of the caller's settings that a running instance was not started with."""
    names: list[str] = []
    for answer in ask(settings.run, {"do": "changed", "settings": caller_settings(settings)}):
        names += answer["settings"]
    here = from_environment(brokers=settings.brokers)
    return [*names, *(["ORDERFLOW_STACK__PORT_OFFSET or …PORTS"] * (here.ports != settings.ports))]


def reset(settings: StackSettings) -> None:
    """Stop the instance and delete all its data and logs."""
    down(settings)
    shutil.rmtree(settings.home)
    if not any((settings.home.parent / name).exists() for name in INSTANCES):
        with suppress(OSError):
            # Unless something else is in it, which is not ours.
            (settings.home.parent / OWNER).unlink(missing_ok=True)
            settings.home.parent.rmdir()


@contextmanager
def _alone(settings: StackSettings, waiting: Callable[[], None]) -> Iterator[None]:
    """One `up` at a time; the next one waits, and then finds the stack running."""
    lock = FileLock(settings.run / "up.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        waiting()
        try:
            lock.acquire(timeout=OTHER_UP_WITHIN_S)
        except Timeout:
            raise StackFailed(
                "another `orderflow up` has been at it for 5 minutes: end it, then try again"
            ) from None

    try:
        yield
    finally:
        lock.release()


def _spawn(settings: StackSettings) -> subprocess.Popen[bytes]:
    (settings.run / "failure").unlink(missing_ok=True)
    log = make_directory(settings.logs) / "supervisor.log"
    trim(log)

    with log.open("ab") as output:
        return subprocess.Popen(
            [
                sys.executable,
                "-m",
                "orderflow.stack.supervisor",
                settings.model_dump_json(),
            ],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=settings.home,
            start_new_session=True,
        )


def _follow(
    settings: StackSettings, supervisor: subprocess.Popen[bytes], progress: Progress
) -> None:
    deadline = time.monotonic() + ANSWER_WITHIN_S
    while not answers(settings.run):
        if supervisor.poll() is not None:
            raise StackFailed(_last_words(settings))
        if time.monotonic() > deadline:
            supervisor.terminate()
            raise StackFailed(f"the supervisor does not answer: {_last_words(settings)}")
        time.sleep(0.05)

    try:
        for event in ask(settings.run, {"do": "up"}):
            if event["event"] == "progress":
                progress(event["name"], event["state"], event["reason"])
            elif event["event"] == "incomplete":
                raise StackFailed(
                    f"{event['reason']}; everything else runs, until `orderflow down`"
                )
            elif event["event"] == "stopped":
                raise StackFailed("stopped by another command while it was starting")
            elif event["event"] == "failed":
                supervisor.wait(GONE_WITHIN_S)
                raise StackFailed(f"{event['reason']}{_servers_alone(event['reason'])}")
    except NotRunning:
        raise StackFailed(_last_words(settings)) from None


def _servers_alone(reason: str) -> str:
    """How to follow advice that needs servers, after a failure that has stopped them, too."""
    needs_none = r"`orderflow (up|down|logs|status)\b[^`]*`"
    if "`orderflow " not in re.sub(needs_none, "", reason):
        return ""

    return (
        f"; nothing is left running: for that, start the servers alone first, with `{SERVERS_UP}`"
    )


def _last_words(settings: StackSettings) -> str:
    """Why the supervisor ended: its `failure` file, or else the last line of its log."""
    failure = settings.run / "failure"
    if failure.exists():
        return failure.read_text()
    line = " ".join(last_lines(settings.logs / "supervisor.log", 1))
    return f"the supervisor ended unexpectedly: {line or 'it said nothing'}"


def _add(settings: StackSettings, extras: tuple[Service, ...], progress: Progress) -> None:
    """Add what does not run here yet, then restart the services that do: all at once."""
    running = StackSettings.model_validate_json((settings.run / "instance.json").read_bytes())
    wanted = running.with_extras(extras)
    if wanted == running:
        return
    answer = next(ask(settings.run, {"do": "rebuild", "settings": wanted.model_dump_json()}))
    if "failed" in answer:
        raise StackFailed(answer["failed"])

    services = {member.name for member in ROSTER}
    names = [
        process.name
        for process in status(settings)
        if process.service in services and process.state != State.STOPPED
    ]
    if not names:
        return
    for name in names:
        progress(name, "starting", "")
    with ThreadPoolExecutor(len(names), thread_name_prefix="restart") as threads:
        for name, _ in zip(
            names, threads.map(lambda name: steer(settings, "restart", name), names), strict=True
        ):
            progress(name, "running", "")


def _refuse_other_publisher(settings: StackSettings, publisher: Publisher | None) -> None:
    """Two publishers can't have one slot, and the old one must have left it first."""
    running = StackSettings.model_validate_json((settings.run / "instance.json").read_bytes())
    if publisher is not None and publisher != running.publisher:
        raise StackFailed(
            f"this instance's order outbox is published by {running.publisher}: to change that, "
            f"`orderflow down`, then `orderflow up --relay {publisher}`"
        )


def _revive(settings: StackSettings, progress: Progress) -> None:
    for process in status(settings):
        if process.state in (State.STOPPED, State.FAILED):
            progress(process.name, "starting", "")
            steer(settings, "start", process.name)
            progress(process.name, "running", "")


def _undo(settings: StackSettings, supervisor: subprocess.Popen[bytes]) -> None:
    """After an interrupt: SIGTERM reaches the supervisor even if it does not answer yet."""
    supervisor.terminate()
    supervisor.wait(GONE_WITHIN_S)
    sweep(settings.run / "children.json")


def _wait_until_gone(settings: StackSettings) -> bool:
    """Wait until no supervisor holds the instance; returns whether none did from the beginning."""
    lock = FileLock(settings.run / "supervisor.lock")
    try:
        lock.acquire(timeout=0)
        was_free = True
    except Timeout:
        was_free = False
        try:
            lock.acquire(timeout=GONE_WITHIN_S)
        except Timeout:
            raise StackFailed(
                f"the supervisor of {settings.home} neither answers nor ends: "
                "see `orderflow logs supervisor`"
            ) from None

    lock.release()
    return was_free


def _refuse_full_disk(settings: StackSettings) -> None:
    free = shutil.disk_usage(settings.home).free
    if free < NEEDED_BYTES:
        raise StackFailed(
            f"only {free // 1_000_000} MB are free on the disk of {settings.home}, "
            f"{NEEDED_BYTES // 1_000_000} MB are needed: free some space, "
            "or set ORDERFLOW_STACK__STATE_DIR to another disk"
        )
