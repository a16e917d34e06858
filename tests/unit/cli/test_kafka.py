"""`orderflow kafka`: which tool is started how. Each class is in the jars that are here."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from orderflow.cli import kafka
from orderflow.cli.main import main
from orderflow.stack.parts import jars
from orderflow.stack.parts.java import java

SERVERS = "127.0.0.1:1"
Start = Callable[..., list[str]]


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Start:
    """Calls the command; what it would replace itself by, after the class path."""

    def start(*words: str) -> list[str]:
        started: list[list[str]] = []

        def replace(program: str, command: list[str]) -> None:
            assert program == command[0] == java()
            started.append(command[command.index("-cp") + 2 :])

        monkeypatch.setattr("os.execv", replace)
        monkeypatch.setattr("sys.argv", ["orderflow", "kafka", *words])
        with pytest.raises(SystemExit):
            main()
        (command,) = started
        return command

    return start


def test_a_tool_gets_the_address_first_and_then_all_that_follows_its_name(start: Start) -> None:
    words = ("--describe", "--topic", "orders", "-h", "--", "--brokers", "3")
    assert start("topics", *words) == [
        "org.apache.kafka.tools.TopicCommand",
        *("--bootstrap-server", SERVERS),
        *words,
    ]


@pytest.mark.parametrize(
    "words",
    [
        ("--bootstrap-server", "elsewhere:9092", "--list"),
        ("--bootstrap-server=elsewhere:9092", "--list"),
        ("--bootstrap-controller", "elsewhere:9093", "describe"),
        ("--help",),
    ],
    ids=" ".join,
)
def test_an_address_of_the_callers_and_a_call_for_help_stay_as_they_are(
    words: tuple[str, ...], start: Start
) -> None:
    assert start("topics", *words)[1:] == list(words)


def test_every_tool_is_there() -> None:
    classpath = Path(jars.locate(jars.default_cache_dir()).kafka_classpath)
    there = {
        name
        for jar in classpath.parent.glob("kafka*.jar")
        for name in zipfile.ZipFile(jar).namelist()
    }
    missing = [
        name for name in kafka.TOOLS.values() if f"{name.replace('.', '/')}.class" not in there
    ]
    assert missing == []
