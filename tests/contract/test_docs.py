"""The documents tell the truth: commands exist, links lead somewhere, every setting is listed."""

from __future__ import annotations

import re
import shlex
import subprocess
from importlib import import_module
from pathlib import Path

import pytest
from pydantic import BaseModel

from orderflow.books.settings import BooksSettings
from orderflow.cli.main import COMMANDS, _load
from orderflow.connect.settings import ConnectSection, WarehouseSection
from orderflow.contracts.roster import ROSTER
from orderflow.messaging.kafka.topics import TopicSettings
from orderflow.messaging.process.follower import FollowerSettings
from orderflow.messaging.settings import PREFIX
from orderflow.neighbours.mail.config import Settings as MailSettings
from orderflow.neighbours.psp.config import Settings as PspSettings
from orderflow.stack.settings import StackProcessSettings

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("deploy/**/*.md")])
SETTINGS: tuple[type[BaseModel], ...] = (
    *(import_module(f"{row.package}.bootstrap").SERVICE.settings for row in ROSTER),
    BooksSettings,
    FollowerSettings,
    MailSettings,
    PspSettings,
    StackProcessSettings,
)


def commands(text: str) -> list[list[str]]:
    """Lines of console blocks that a reader would type, as words; continuation lines joined."""
    blocks = re.findall(r"```console\n(.*?)```", text, re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [shlex.split(line[2:], comments=True) for line in lines if line.startswith("$ ")]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_command_in_a_document_exists(document: Path) -> None:
    for words in commands(document.read_text()):
        if words[0] == "make":
            known = subprocess.run(
                [*words, "--dry-run"], cwd=ROOT, capture_output=True, check=False
            )
            assert known.returncode == 0, f"{document.name}: {shlex.join(words)}"
        for index, word in enumerate(words):
            if (
                word.endswith("orderflow")
                and index + 1 < len(words)
                and not words[index + 1].startswith("-")
            ):
                assert words[index + 1] in COMMANDS, (
                    f"{document.name}: orderflow {words[index + 1]}"
                )


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_file_that_a_document_names_is_there(document: Path) -> None:
    text = document.read_text()
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if not link.startswith("http")]
    missing = [link for link in links if not (document.parent / link).exists()]
    tests = [path for path in re.findall(r"`(tests/[\w/.]+)`", text) if not (ROOT / path).exists()]
    assert missing + tests == []


def test_every_command_explains_itself() -> None:
    for name, (target, summary) in COMMANDS.items():
        assert _load(target).help, f"orderflow {name} --help says nothing"
        assert summary.endswith(".")


def test_every_setting_is_in_the_configuration_document() -> None:
    listed = set(
        re.findall(rf"`({PREFIX}[A-Z_]+)`", (ROOT / "docs" / "configuration.md").read_text())
    )
    existing = {name for model in SETTINGS for name in variables(model, PREFIX)}
    existing |= set(variables(ConnectSection, f"{PREFIX}CONNECT__"))
    existing |= set(variables(WarehouseSection, f"{PREFIX}WAREHOUSE__"))
    existing |= set(variables(TopicSettings, f"{PREFIX}TOPICS__")) | {
        f"{PREFIX}FAILPOINTS",
        f"{PREFIX}SECRETS_DIR",
        # A Connect worker's own.
        f"{PREFIX}WAREHOUSE_PASSWORD",
        f"{PREFIX}ORDER_PASSWORD",
    }
    assert listed == existing


def variables(model: type[BaseModel], prefix: str) -> list[str]:
    names: list[str] = []
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            names += variables(field.annotation, f"{prefix}{name.upper()}__")
        else:
            names.append(f"{prefix}{name.upper()}")
    return names


def test_decision_notes_are_short_and_whole() -> None:
    for note in (ROOT / "docs" / "decisions").glob("*.md"):
        text = note.read_text()
        assert len(text.splitlines()) <= 60, f"{note.name} is longer than 60 lines"
        for part in (
            "Status",
            "Context",
            "Decision",
            "Why",
            "Alternatives",
            "Consequences",
            "Module",
            "Proof",
        ):
            assert f"**{part}" in text, f"{note.name} has no {part}"


def test_the_index_of_the_tests_support_names_every_file() -> None:
    support = ROOT / "tests" / "support"
    lines = re.findall(
        r"^    (\w[\w, ]*?)  +\S", (support / "__init__.py").read_text(), re.MULTILINE
    )
    indexed = {name for line in lines for name in line.split(", ")}
    files = {path.stem for path in support.iterdir() if path.suffix == ".py" or path.is_dir()}
    assert indexed == files - {
        "__init__",
        "__pycache__",
        "listener_probe_worker",
        "outbox_probe_relay",
    }
