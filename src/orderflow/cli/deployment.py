"""How the commands of a deployment wait for a part that is away: for a stated time, and aloud."""

from __future__ import annotations

from typing import Annotated

import typer

from orderflow.cli.output import say
from orderflow.messaging.errors import Transient
from orderflow.messaging.work.patience import Patience

AwayS = Annotated[
    float,
    typer.Option(
        "--away-s",
        min=0,
        max=3600,
        help="Seconds for which a part that is away or busy is asked again; 0: not at all.",
    ),
]


def patient(away_s_max: float) -> Patience:
    """Patience that says on stderr what it waits for, and for how long it will."""
    return Patience(away_s_max=away_s_max, waiting=_say_waiting)


def _say_waiting(error: Transient, left_s: float) -> None:
    say(f"orderflow: {error}; asking again for up to {left_s:.0f} s", to_stderr=True)
