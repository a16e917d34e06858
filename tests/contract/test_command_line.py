"""What holds for every command: its exit codes, its help, what a shell completes, what is near."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from typer.core import TyperGroup

from orderflow.cli import called
from orderflow.cli.main import COMMANDS, app, main
from orderflow.stack import lifecycle

ROOT = Path(__file__).parents[2]
Run = Callable[..., tuple[int | str | None, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Runs a command line on an instance that was never started: its exit code and its words."""
    monkeypatch.setenv("ORDERFLOW_STACK__STATE_DIR", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "400")

    def run(*words: str) -> tuple[int | str | None, str]:
        monkeypatch.setattr("sys.argv", ["orderflow", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capfd.readouterr()
        return ended.value.code, printed.out + printed.err

    return run


def lines_of_words(command: Any, words: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Each command that can be called, by all its words."""
    if not isinstance(command, TyperGroup):
        yield words
        return
    for name in command.list_commands(None):  # type: ignore[arg-type]
        inner = command.get_command(None, name)  # type: ignore[arg-type]
        yield from lines_of_words(inner, (*words, *name.split()))


def every_command() -> list[tuple[str, ...]]:
    called_as, sys.argv = sys.argv, ["orderflow", "called"]
    try:
        return list(lines_of_words(typer.main.get_command(app), ()))
    finally:
        sys.argv = called_as


@pytest.mark.parametrize("words", every_command(), ids=" ".join)
def test_wrong_usage_is_2_and_help_is_0_and_offers_no_completion_of_its_own(
    words: tuple[str, ...], run: Run
) -> None:
    assert run(*words, "--no-such-option")[0] == 2
    code, said = run(*words, "--help")
    assert code == 0
    assert "--install-completion" not in said
    assert run("help", *words) == (0, said)


@pytest.mark.parametrize(
    "words",
    [
        ("dlt", "list", "--group", "paymentservice"),
        ("drill", "run", "kiled-relay"),
        ("kafka", "consumergroups"),
        ("listeners", "--group", "paymentservice"),
        ("relay", "resync", "orders", "--yes"),
    ],
    ids=" ".join,
)
def test_a_name_that_nobody_has_is_2_with_the_nearest(
    words: tuple[str, ...], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORDERFLOW_KAFKA__BOOTSTRAP_SERVERS", "127.0.0.1:1")
    code, said = run(*words)
    assert code == 2
    assert re.search(r"; there are: .*; did you mean '[\w-]+'", said), said


def test_a_command_that_nobody_has_is_2_with_the_nearest(run: Run) -> None:
    for wrong, right in (("statuss", "status"), ("dtl", "dlt"), ("stats", "status")):
        code, said = run(wrong)
        assert code == 2
        assert re.search(rf"No such command '{wrong}'; did you mean .*'{right}'", said)
    assert "did you mean" not in run("xyzzy")[1]


def test_an_interrupt_is_130_with_a_word(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(lifecycle, "down", interrupted)
    assert run("down") == (130, "orderflow: interrupted\n")


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("sta", {"start", "status"}),
        ("restart order-", {"order-api", "order-relay"}),
        ("logs ma", {"mail"}),
        ("tail inventory", {"inventory"}),
        ("lag --group not", {"notification-service"}),
        ("dlt list -g not", {"notification-service"}),
        ("listeners -g not", {"notification-service"}),
        ("relay resync inv", {"inventory"}),
        ("connect restart pay", {"payments-warehouse"}),
        ("drill run killed-rel", {"killed-relay"}),
        ("kafka consumer-g", {"consumer-groups"}),
        ("dlt rep", {"replay"}),
        ("up --re", {"--relay"}),
    ],
)
def test_a_shell_completes_commands_options_and_names(
    line: str, names: set[str], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("_ORDERFLOW_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", f"orderflow {line}")
    monkeypatch.setenv("COMP_CWORD", str(len(line.split())))
    code, said = run()
    assert code == 0
    assert names <= set(said.split()), said
    start = line.rsplit(maxsplit=1)[-1]
    assert all(word.startswith(start) for word in said.split())


def test_the_roots_completion_is_a_script_that_a_shell_takes() -> None:
    script = subprocess.run(
        [sys.executable, "-m", "orderflow.cli.main", "--show-completion", "bash"],
        env={**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    done = subprocess.run(
        ["bash", "-c", f"{script}\ncomplete -p orderflow"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "-F _orderflow_completion orderflow" in done.stdout


def test_env_leaves_the_callers_java_alone(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", "/opt/java")
    code, said = run("env")
    assert code == 0
    assert re.search(r"^export KAFKA_JAVA=\S+/bin/java$", said, re.MULTILINE)
    assert "JAVA_HOME=" not in said
    monkeypatch.delenv("JAVA_HOME")
    assert "export JAVA_HOME=" in run("env")[1]


def test_a_message_names_commands_as_this_one_was_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "bin" / "orderflow"
    script.parent.mkdir()
    script.touch(mode=0o755)
    monkeypatch.chdir(tmp_path)
    text = "see `orderflow status`, or `A=1 orderflow up`; orderflow itself, `x-orderflow up`"

    monkeypatch.setenv("PATH", str(tmp_path / "elsewhere"))
    monkeypatch.setattr("sys.argv", ["bin/orderflow"])
    by_path = text.replace("`orderflow s", "`bin/orderflow s").replace("1 o", "1 bin/o")
    assert called.as_called(text) == by_path

    assert called.command("trace", "a b") == "bin/orderflow trace 'a b'"

    monkeypatch.setenv("PATH", str(script.parent))
    monkeypatch.setattr("sys.argv", [str(script)])
    assert called.as_called(text) == text
    assert called.command("status") == "orderflow status"


def test_a_path_that_a_shell_would_split_is_quoted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "my tools" / "orderflow"
    script.parent.mkdir()
    script.touch(mode=0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["my tools/orderflow"])
    assert called.command("status") == "'my tools/orderflow' status"
    assert called.as_called("see `A=1 orderflow up`") == "see `A=1 'my tools/orderflow' up`"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("dlt", "shwo"), "Try '{} dlt --help' for help"),
        (("status", "--nonsense"), "Try '{} status --help' for help"),
        (("revenue", "--from", "2026-01-31T09:00:00Z"), "`{} revenue hours --from …`"),
    ],
    ids=" ".join,
)
def test_wrong_usage_names_the_command_as_it_was_called(
    words: tuple[str, ...], said: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("orderflow.cli.called.called", "orderflow.cli.main.called"):
        monkeypatch.setattr(name, lambda: "bin/orderflow")
    code, printed = run(*words)
    assert code == 2
    assert said.format("bin/orderflow") in printed


def test_the_table_of_exit_codes_names_commands_that_exist() -> None:
    table = (ROOT / "docs" / "exit-codes.md").read_text()
    rows = re.findall(r"^\| ((?:`[\w -]+`(?:, )?)+) \|", table, re.MULTILINE)
    words = [name.split()[0] for row in rows for name in re.findall(r"`([^`]+)`", row)]
    assert words
    assert set(words) <= COMMANDS.keys()
