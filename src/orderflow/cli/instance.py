"""Which instance of the local stack a command is about: `--brokers`."""

from __future__ import annotations

from typing import Annotated, Literal, cast

import typer

from orderflow.stack import lifecycle
from orderflow.stack.settings import StackSettings

BrokersOption = Annotated[
    int | None,
    typer.Option(
        "--brokers",
        metavar="1|3",
        help="Which instance: 1 broker, or a cluster of 3. Default: what runs.",
    ),
]


def instance(brokers: int | None) -> StackSettings:
    """The instance that a command is about."""
    return lifecycle.current(brokers=known_size(brokers))


def chosen_instance(brokers: int | None) -> StackSettings | None:
    """That of the option; None if none was given."""
    return None if brokers is None else instance(brokers)


def known_size(brokers: int | None) -> Literal[1, 3] | None:
    """The number, if there are such instances. Raises BadParameter."""
    if brokers not in (None, 1, 3):
        raise typer.BadParameter(
            "there are instances with 1 and with 3 brokers", param_hint="--brokers"
        )
    return cast("Literal[1, 3] | None", brokers)
