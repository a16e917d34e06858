"""`docs/drills.md`: what degrades, what goes on, and the measured times, from one run of all."""

from __future__ import annotations

from collections.abc import Sequence

from orderflow.drills.conduct import Expected, Outcome, Pace
from orderflow.drills.drill import Drill
from orderflow.drills.screen import answers
from orderflow.trials.machine import Machine

HEAD = """# Drills

Incidents brought about on purpose, on a stack of their own, under load; each is healed, and judged
at rest. Written by `orderflow drill run --all --report docs/drills.md`.
"""
LEGEND = """
*Caught up*: seconds from the beginning of the heal until no more is behind than before the break,
under the same load. *Behind*: the most records, orders and messages that were not done. *Refused*:
answers 503 of the order API, which a client repeats under the same key.
"""


def markdown(runs: Sequence[tuple[Drill, Outcome]], *, pace: Pace, machine: Machine) -> str:
    """The whole document. The runbooks are linked as from `docs/`."""
    passed = sum(outcome.has_passed for _, outcome in runs)
    ran = (
        f"{pace.rate_per_s:.0f} orders/s; what is broken stays so for {pace.hold_s:.0f} s "
        f"at least; {machine}. {passed} of {len(runs)} passed."
    )

    return "\n".join(
        [
            HEAD,
            ran,
            LEGEND,
            "| drill | broken | behind | refused | caught up | runbook |",
            "|---|---|---|---|---|---|",
            *(_row(drill, outcome) for drill, outcome in runs),
            "",
            "## What degrades, and what goes on",
            "",
            "| drill | degrades | goes on |",
            "|---|---|---|",
            *(f"| {drill.name} | {drill.degrades} | {drill.goes_on} |" for drill, _ in runs),
            *(line for drill, outcome in runs for line in _section(drill, outcome)),
            "",
        ]
    )


def _row(drill: Drill, outcome: Outcome) -> str:
    caught_up = f"{outcome.recovered_s:.1f} s" if outcome.recovered_s is not None else "no"
    cells = (
        drill.name if outcome.has_passed else f"{drill.name} (**failed**)",
        f"{outcome.broken_s:.0f} s",
        f"{outcome.peak_backlog:,}",
        f"{outcome.answers.get('503', 0):,}",
        caught_up,
        f"[{drill.runbook.removesuffix('.md')}](runbooks/{drill.runbook})",
    )
    return f"| {' | '.join(cells)} |"


def _section(drill: Drill, outcome: Outcome) -> list[str]:
    words = (
        f"{_sentence(drill.lab)} Broken: {_sentence(drill.breaks, upper=False)} "
        f"What should happen: {_sentence(drill.should, upper=False)}"
    )
    measured = (
        f"- {outcome.placed:,} orders, {answers(outcome.answers)}; "
        f"{outcome.judged or 'not judged'}: {'; '.join(outcome.wrong) or 'in order'}"
    )

    return [
        "",
        f"## {drill.name}",
        "",
        words,
        "",
        *(_line(result) for result in outcome.expected),
        measured,
    ]


def _line(result: Expected) -> str:
    took = f" ({result.took_s:.1f} s)" if result.took_s is not None else " – **not so**"
    return f"- {result.phase}: {result.what}{took}"


def _sentence(words: str, *, upper: bool = True) -> str:
    return f"{words[0].upper() if upper else words[0]}{words[1:]}."
