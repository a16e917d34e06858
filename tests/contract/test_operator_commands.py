"""What the kit's messages tell an operator to run is there to be run."""

from __future__ import annotations

import re
from dataclasses import asdict
from importlib import import_module

import pytest
import typer

from orderflow.cli.main import COMMANDS
from orderflow.contracts.operator_commands import OPERATOR_COMMANDS
from orderflow.contracts.schemas import CATALOGUE
from orderflow.messaging.errors import ConfigurationError
from orderflow.messaging.schemas.avro import Encoder
from orderflow.messaging.testing.registry import InMemoryRegistry

NAMED = [
    command.split()
    for text in asdict(OPERATOR_COMMANDS).values()
    for command in re.findall(r"`orderflow ([^`]+)`", text)
]


@pytest.mark.parametrize("words", NAMED, ids=" ".join)
def test_every_command_that_a_message_names_exists(words: list[str]) -> None:
    module, _, attribute = COMMANDS[words[0]][0].partition(":")
    command = getattr(import_module(module), attribute)
    if isinstance(command, typer.Typer):
        groups = {group.name for group in command.registered_groups}
        assert words[1] in groups | {
            each.name or each.callback.__name__
            for each in command.registered_commands
            if each.callback is not None
        }


def test_every_kind_of_command_is_named() -> None:
    assert all("`orderflow " in sentence for sentence in asdict(OPERATOR_COMMANDS).values())


def test_an_unregistered_schema_is_refused_with_the_products_command() -> None:
    with pytest.raises(ConfigurationError, match="run `orderflow schemas apply`, then start again"):
        Encoder.load(InMemoryRegistry(), CATALOGUE)
